//! The `covft-probe` program: parse, run, print what went wrong, exit.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: covft_probe::kernels::PoolAllocator = covft_probe::kernels::PoolAllocator::new(4 << 30);

fn main() -> ExitCode {
    covft_probe::cli::main()
}
