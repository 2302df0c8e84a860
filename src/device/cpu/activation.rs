//! f and f′; twin of `shaders/shared/activation.wgsl`.

use super::real::Real;
use crate::activation::Activation;

/// f(x)
#[inline(always)]
pub(crate) fn f<T: Real>(activation: Activation, x: T) -> T {
    match activation {
        Activation::Sigmoid => x.sigmoid(),
        Activation::Tanh => x.tanh(),
        Activation::Relu => {
            if x > T::ZERO {
                x
            } else {
                T::ZERO
            }
        }
        Activation::LeakyRelu => {
            if x > T::ZERO {
                x
            } else {
                T::from_f64(Activation::LEAK) * x
            }
        }
        Activation::Identity => x,
    }
}

/// f′(x) from h = f(x): no activation here needs x itself.
#[inline(always)]
pub(crate) fn f_prime<T: Real>(activation: Activation, h: T) -> T {
    match activation {
        Activation::Sigmoid => h * (T::ONE - h),
        Activation::Tanh => T::ONE - h * h,
        Activation::Relu => {
            if h > T::ZERO {
                T::ONE
            } else {
                T::ZERO
            }
        }
        Activation::LeakyRelu => {
            if h > T::ZERO {
                T::ONE
            } else {
                T::from_f64(Activation::LEAK)
            }
        }
        Activation::Identity => T::ONE,
    }
}

/// Runs `$body` with `$act` bound to each activation in an arm of its own, so that the choice is made
/// once and not for every number.
macro_rules! for_activation {
    ($which:expr, $act:ident => $body:expr) => {
        match $which {
            Activation::Sigmoid => {
                const $act: Activation = Activation::Sigmoid;
                $body
            }
            Activation::Tanh => {
                const $act: Activation = Activation::Tanh;
                $body
            }
            Activation::Relu => {
                const $act: Activation = Activation::Relu;
                $body
            }
            Activation::LeakyRelu => {
                const $act: Activation = Activation::LeakyRelu;
                $body
            }
            Activation::Identity => {
                const $act: Activation = Activation::Identity;
                $body
            }
        }
    };
}
pub(crate) use for_activation;
