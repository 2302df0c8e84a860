//! The task of a plan: rule, network, seed, learning rate and loss, as needed by lowering, devices and messages.

use crate::named::named;

named! {
    /// The loss function.
    Loss {
        /// ½ Σ (target − μ^0)²: the paper's.
        Squared = "squared",
        /// −Σ target · log softmax(μ^0).
        CrossEntropy = "cross-entropy",
    }
}

named! {
    /// The shape of the learning-rate schedule.
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
    /// Shape of the schedule.
    pub ramp: Ramp,
    /// Number of warm-up updates, in which the rate grows linearly from 0.
    pub warmup: u64,
    /// Number of updates of the whole run; 0 if unknown.
    pub total: u64,
}

impl LrSchedule {
    /// A constant rate.
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

    /// The rate at update n = 1, 2, … for a base rate `alpha`.
    pub fn rate(self, alpha: f64, n: u64) -> f64 {
        if self.is_constant() { alpha } else { alpha * self.factor(n) }
    }
}

/// The learning rate of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The base learning rate α.
    pub alpha: f64,
    /// Schedule of α over the run.
    pub schedule: LrSchedule,
    /// Whether α is divided by the batch size. Updates are then averages over the batch.
    pub averaged: bool,
    /// Number of updates per epoch; 0 if unknown, and the whole run then counts as one epoch.
    pub epoch: u64,
}

impl Rates {
    /// α at update n = 1, 2, … with batch size `batch`.
    pub fn at(&self, n: u64, batch: usize) -> f64 {
        let rate = self.schedule.rate(self.alpha, n);
        if self.averaged { rate / batch as f64 } else { rate }
    }

    /// The epoch of update n = 1, 2, …, counted from 0.
    pub fn epoch_of(&self, n: u64) -> u64 {
        (n - 1).checked_div(self.epoch).unwrap_or(0)
    }
}

/// The task of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The name of the rule in messages: "zil".
    pub rule: String,
    /// The title line: rule, network and settings.
    pub title: String,
    /// The network in messages: "784-32-32-10".
    pub network: String,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The learning rate.
    pub rates: Rates,
    /// The loss function.
    pub loss: Loss,
}
