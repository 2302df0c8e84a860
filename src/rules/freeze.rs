//! Frozen weights. A weight matrix with the learning rate factor 0 keeps its bits: no optimiser, weight decay or term of the rule
//! changes it, its biases, or what else is stored per connection of its projection.

use super::Options;
use crate::error::{Error, Result};
use crate::network::Network;
use crate::plan::{Domain, Initial, Plan};

impl Options {
    /// Sets the learning rate factors of some weight matrices to 0. `layers` holds the l of θ^l, 1 at the output, or the words
    /// `input` and `output`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a matrix that the network does not have, or if none is left to learn.
    pub fn freeze<T: AsRef<str>>(&mut self, network: &Network, layers: &[T]) -> Result<()> {
        let all = network.matrices();
        if layers.is_empty() {
            return Ok(());
        }
        if self.layer_lr.is_empty() {
            self.layer_lr = vec![1.0; all];
        }
        for word in layers.iter().map(AsRef::as_ref) {
            let l = match word {
                "input" => Some(all),
                "output" => Some(1),
                number => number.parse().ok(),
            };
            // The last factor is that of θ^1. `plan` reports a list of another length.
            let factor = l.and_then(|l: usize| self.layer_lr.iter_mut().rev().nth(l.checked_sub(1)?));
            let factor = factor.filter(|_| l.is_some_and(|l| l <= all)).ok_or_else(|| {
                Error::usage(format!(
                    "--freeze takes the l of a weight matrix θ^l of {network}, from 1 at the output to {all} at the input, or one of the \
                     words input and output; \"{word}\" given"
                ))
            })?;
            *factor = 0.0;
        }
        if self.layer_lr.iter().all(|factor| *factor == 0.0) {
            return Err(Error::usage(
                "--freeze names every weight matrix, so that none is left to learn; leave one out",
            ));
        }
        Ok(())
    }

    /// Whether θ^l has the factor 0 while other matrices learn.
    fn is_frozen(&self, l: usize) -> bool {
        let factor = |l: usize| self.layer_lr.iter().rev().nth(l.checked_sub(1)?);
        factor(l) == Some(&0.0) && self.layer_lr.iter().any(|factor| *factor != 0.0)
    }

    /// The plan without the assignments that would change frozen weights.
    pub(super) fn without_changes_of_frozen(&self, mut plan: Plan) -> Plan {
        let frozen = |start: &Initial| matches!(start, Initial::Weights(l) if self.is_frozen(*l));
        let homes: Vec<Domain> = plan.slots.iter().filter(|slot| frozen(&slot.start)).map(|slot| slot.home).collect();
        if homes.is_empty() {
            return plan;
        }
        let rests: Vec<bool> = plan.slots.iter().map(|slot| slot.persistent && homes.contains(&slot.home)).collect();
        for steps in plan.moments.iter_mut().map(|moment| &mut moment.steps) {
            steps.iter_mut().flatten().for_each(|op| op.epilogue.retain(|end| !rests[end.to.0]));
            steps.iter_mut().for_each(|ops| ops.retain(|op| !op.epilogue.is_empty()));
            steps.retain(|ops| !ops.is_empty());
        }
        plan
    }
}
