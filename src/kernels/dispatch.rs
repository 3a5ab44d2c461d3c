//! Which instruction set the kernels use.

use std::sync::OnceLock;

/// An instruction set. Values above [`Level::Baseline`] are only made after asking the CPU, which is what makes the
/// calls in [`dispatch!`] sound; the type stays inside `kernels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Level(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {
    Baseline,
    Avx2,
    Avx512,
}

impl Level {
    pub(super) fn set(self) -> Set {
        self.0
    }

    fn name(self) -> &'static str {
        match self.0 {
            Set::Baseline => "baseline",
            Set::Avx2 => "avx2",
            Set::Avx512 => "avx512",
        }
    }
}

fn supported() -> Set {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 && avx512 {
            return Set::Avx512;
        }
        if avx2 {
            return Set::Avx2;
        }
    }
    Set::Baseline
}

/// The level in use: what the CPU has, or less if `COVFT_SIMD` (`baseline`, `avx2`, `avx512`) asks for less.
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    #[cfg(test)]
    if let Some(level) = FORCED.get() {
        return level;
    }
    *LEVEL.get_or_init(|| {
        let wanted = match std::env::var("COVFT_SIMD").as_deref() {
            Ok("baseline") => Set::Baseline,
            Ok("avx2") => Set::Avx2,
            _ => Set::Avx512,
        };
        Level(wanted.min(supported()))
    })
}

/// Name of the instruction set the kernels use: `avx512`, `avx2` or `baseline`. Results differ between levels in the
/// last bits; on one level they do not depend on the number of threads. The environment variable `COVFT_SIMD` lowers it
/// (matrix products always use the best the CPU has).
#[must_use]
pub fn dispatch_level() -> &'static str {
    level().name()
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// The levels this CPU can run.
#[cfg(test)]
pub(crate) fn available_levels() -> Vec<Level> {
    [Set::Baseline, Set::Avx2, Set::Avx512].into_iter().filter(|s| *s <= supported()).map(Level).collect()
}

/// Runs `f` with kernels called from this thread at `level`.
#[cfg(test)]
pub(crate) fn with_level<R>(level: Level, f: impl FnOnce() -> R) -> R {
    FORCED.set(Some(level));
    let result = f();
    FORCED.set(None);
    result
}

/// Defines `fn name(level, args..)` that runs `body::<FMA>(args..)` compiled for `level`. The body must be
/// `#[inline(always)]` and take `const FMA: bool`, which says whether `mul_add` is one instruction.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        $vis fn $name(level: crate::kernels::dispatch::Level, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                        fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                        fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                match level.set() {
                    // SAFETY: a level above the baseline exists only if the CPU has its features.
                    crate::kernels::dispatch::Set::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    crate::kernels::dispatch::Set::Avx2 => return unsafe { avx2($($arg),*) },
                    crate::kernels::dispatch::Set::Baseline => {}
                }
            }
            let _ = level;
            $body::<false>($($arg),*)
        }
    };
}
pub(super) use dispatch;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_can_be_forced_and_named() {
        let names: Vec<_> = available_levels().into_iter().map(|l| with_level(l, dispatch_level)).collect();
        assert_eq!(names, ["baseline", "avx2", "avx512"][..names.len()]);
        assert!(!names.is_empty());
    }
}
