//! Opens the explorer alone, without the trainer: `cargo run --release -p covft-viewer --example explorer -- RUN...`

fn main() -> Result<(), covft_viewer::ViewerError> {
    covft_viewer::open(std::env::args_os().skip(1).map(Into::into).collect(), covft_viewer::read_plainly)
}
