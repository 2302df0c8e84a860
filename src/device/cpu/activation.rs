//! f and f′. Twin of `shaders/shared/activation.wgsl`.

use super::element::Element;
use crate::plan::activation::Activation;

/// f(x) in float32, with the same bits as in the CPU's kernels.
pub fn activate(activation: Activation, x: f32) -> f32 {
    f(activation, x)
}

/// f(x)
#[inline(always)]
pub(crate) fn f<T: Element>(activation: Activation, x: T) -> T {
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
        Activation::HardTanh => {
            let low = if x > -T::ONE { x } else { -T::ONE };
            if low < T::ONE { low } else { T::ONE }
        }
        Activation::Gelu => {
            let [a, b] = crate::plan::expr::GELU.map(T::from_f64);
            let bend = ((a * x) * (b * (x * x) + T::ONE)).tanh();
            T::from_f64(0.5) * x * (bend + T::ONE)
        }
    }
}

/// f′(x) from h = f(x), for [`Activation::MONOTONE`].
#[inline(always)]
pub(crate) fn f_prime<T: Element>(activation: Activation, h: T) -> T {
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
        Activation::HardTanh => {
            if h > -T::ONE && h < T::ONE {
                T::ONE
            } else {
                T::ZERO
            }
        }
        // Validation of plans refuses it: f′ is not a function of h.
        Activation::Gelu => T::from_f64(f64::NAN),
    }
}

/// Expands `$body` once per activation, with `$act` a constant, so that the choice is made outside of the loop over values.
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
            Activation::HardTanh => {
                const $act: Activation = Activation::HardTanh;
                $body
            }
            Activation::Gelu => {
                const $act: Activation = Activation::Gelu;
                $body
            }
        }
    };
}
pub(crate) use for_activation;
