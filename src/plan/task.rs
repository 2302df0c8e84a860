//! What a plan is about: whose it is, its seed, its learning rate and its loss, as lowering, devices and messages need them.

use crate::named::named;

named! {
    /// What the output is held to.
    Loss {
        /// ½ Σ (target − μ^0)²: the paper's.
        Squared = "squared",
        /// −Σ target · log softmax(μ^0).
        CrossEntropy = "cross-entropy",
    }
}

named! {
    /// How the learning rate changes over a run.
    Ramp {
        /// It does not.
        Constant = "constant",
        /// Down to 0 along half a cosine.
        Cosine = "cosine",
        /// To a tenth after half of the updates that follow the warm-up, and to a hundredth after three quarters.
        Step = "step",
        /// Up by a tenth in the first tenth of the run, then down to a tenth along half a cosine (Pinchetti et al. 2025).
        WarmCosine = "warm-cosine",
    }
}

/// The learning rate over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct LrSchedule {
    /// Its shape.
    pub ramp: Ramp,
    /// Updates over which it grows from nothing, in equal steps.
    pub warmup: u64,
    /// Updates of the whole run; 0 where that is not known.
    pub total: u64,
}

impl LrSchedule {
    /// The same rate at every update.
    pub const CONSTANT: LrSchedule = LrSchedule { ramp: Ramp::Constant, warmup: 0, total: 0 };

    /// The factor at update n = 1, 2, …
    fn factor(self, n: u64) -> f64 {
        if self.ramp == Ramp::WarmCosine {
            let (done, warm) = ((n - 1) as f64, (self.total / 10).max(1) as f64);
            let rest = (self.total as f64 - warm).max(1.0);
            let part = ((done - warm) / rest).min(1.0);
            let falling = || 0.1 + 0.5 * (1.0 + (std::f64::consts::PI * part).cos());
            return if done < warm { 1.0 + 0.1 * done / warm } else { falling() };
        }
        if n <= self.warmup {
            return n as f64 / self.warmup as f64;
        }
        let rest = self.total.saturating_sub(self.warmup).max(1) as f64;
        let done = ((n - 1 - self.warmup) as f64 / rest).min(1.0);
        match self.ramp {
            Ramp::Constant => 1.0,
            Ramp::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Ramp::Step if done >= 0.75 => 0.01,
            Ramp::Step if done >= 0.5 => 0.1,
            Ramp::Step | Ramp::WarmCosine => 1.0,
        }
    }

    /// Whether the rate is the same at every update.
    pub fn is_constant(self) -> bool {
        self.ramp == Ramp::Constant && self.warmup == 0
    }

    /// `alpha` at update n = 1, 2, …
    pub fn rate(self, alpha: f64, n: u64) -> f64 {
        if self.is_constant() { alpha } else { alpha * self.factor(n) }
    }
}

/// The learning rate of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// α.
    pub alpha: f64,
    /// How α changes over the run.
    pub schedule: LrSchedule,
    /// Whether α is divided by the batch size: updates are then averages over the batch.
    pub averaged: bool,
    /// Updates of an epoch; 0 where that is not known, and the whole run counts as one.
    pub epoch: u64,
}

impl Rates {
    /// α at update n = 1, 2, … on batches of `batch`.
    pub fn at(&self, n: u64, batch: usize) -> f64 {
        let rate = self.schedule.rate(self.alpha, n);
        if self.averaged { rate / batch as f64 } else { rate }
    }

    /// The epoch of update n = 1, 2, …, from 0.
    pub fn epoch_of(&self, n: u64) -> u64 {
        (n - 1).checked_div(self.epoch).unwrap_or(0)
    }
}

/// What a plan is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The name of the rule, as messages give it: "zil".
    pub rule: String,
    /// The headline: rule, network and settings.
    pub title: String,
    /// The network, as messages give it: "784-32-32-10".
    pub network: String,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The learning rate.
    pub rates: Rates,
    /// What the output is held to.
    pub loss: Loss,
}
