//! Sources of the values that fill slots before an update: images, labels, and arrays from the caller.

use super::augment::Augment;
use super::{Domain, Grid, Loss, Pixels, Plan, Reduction, SlotId, What};
use crate::error::{Error, Result};
use crate::plan::activation::Activation;

/// A slot that is filled from data before each update. The rule writes all other slots of units.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// The slot of units, `[batch, n]`.
    pub slot: SlotId,
    /// The source of its values.
    pub source: Source,
}

/// The source of a feed's values.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// f((p / 255 − mean) / sd) of each pixel p of a sample.
    Pixels(Images),
    /// One value per class: the first at all units except the label's, the second at the label's unit.
    Labels([f32; 2]),
    /// An array with this name, passed by the caller with each batch ([`crate::device::BlockingSession::step_with`]).
    Array(String),
}

impl Source {
    /// The name under which a caller can pass an array instead.
    pub fn name(&self) -> &str {
        match self {
            Source::Pixels(_) => "input",
            Source::Labels(_) => "target",
            Source::Array(name) => name,
        }
    }
}

/// How images are converted to the activity of a population.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// The channels, rows and columns that the network expects, if any.
    pub form: Option<Grid>,
    /// Normalization of pixels; `None` means p / 255.
    pub scale: Option<Pixels>,
    /// The activation f.
    pub activation: Activation,
    /// Augmentation of training images.
    pub augment: Augment,
}

/// What the inputs and targets of a data set are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kind {
    /// Whether the inputs are numbers instead of pixels.
    pub numbers: bool,
    /// Whether the targets are real values instead of labels.
    pub values: bool,
}

/// Inputs and outputs of a network, which a data set must fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Interface<'a> {
    /// The network in messages.
    pub network: String,
    /// Number of units that receive pixels.
    pub inputs: usize,
    /// The channels, rows and columns of the images that the network expects, if any.
    pub form: Option<Grid>,
    /// Normalization of pixels.
    pub scale: Option<&'a Pixels>,
    /// Number of units that receive labels, one per class.
    pub outputs: usize,
}

impl<'a> From<&'a Plan> for Interface<'a> {
    fn from(plan: &'a Plan) -> Self {
        plan.interface()
    }
}

impl Plan {
    /// The slot that images fill, and the conversion.
    pub fn images(&self) -> Option<(SlotId, &Images)> {
        self.feeds.iter().find_map(|feed| match &feed.source {
            Source::Pixels(images) => Some((feed.slot, images)),
            _ => None,
        })
    }

    /// The slot that labels fill, with the values at the other classes' units and at the label's unit.
    pub fn labels(&self) -> Option<(SlotId, [f32; 2])> {
        self.feeds.iter().find_map(|feed| match feed.source {
            Source::Labels(values) => Some((feed.slot, values)),
            _ => None,
        })
    }

    /// The slot that images fill. Every validated plan has one.
    pub fn input(&self) -> SlotId {
        self.images().map_or(SlotId(0), |(slot, _)| slot)
    }

    /// The slot that labels fill. Every validated plan has one.
    pub fn target(&self) -> SlotId {
        self.labels().map_or(SlotId(0), |(slot, _)| slot)
    }

    /// Number of units of a slot's population, per place.
    pub(crate) fn width(&self, slot: SlotId) -> usize {
        match self.slots.get(slot.0).map(|slot| slot.home) {
            Some(home @ Domain::Units(_)) => self.extent(home),
            _ => 0,
        }
    }

    /// Number of units that receive images.
    pub fn inputs(&self) -> usize {
        self.width(self.input())
    }

    /// Number of units that receive labels.
    pub fn outputs(&self) -> usize {
        self.width(self.target())
    }

    /// Checks that the plan can take data of this kind. Their sizes are checked elsewhere.
    ///
    /// # Errors
    /// [`Error::Usage`] for numbers where the plan changes or normalises pixels, and for real targets where the plan needs classes.
    pub fn check_kind(&self, kind: Kind) -> Result<()> {
        let refuse = |why: String| Err(Error::usage(why));
        if let (true, Some((_, images))) = (kind.numbers, self.images()) {
            if !images.augment.is_none() {
                return refuse(
                    "--augment changes pixels of images, and the inputs of these data are numbers; remove it".into(),
                );
            }
            if images.scale.is_some() {
                return refuse(
                    "--pixels normalises pixels of images, and the inputs of these data are numbers; see --scaling"
                        .into(),
                );
            }
        }
        let (true, Some((target, values))) = (kind.values, self.labels()) else { return Ok(()) };
        let rule = &self.task.rule;
        if self.task.loss == Loss::CrossEntropy {
            return refuse(
                "--loss cross-entropy needs classes, and these data have real targets; choose --loss squared".into(),
            );
        }
        if values != [0.0, 1.0] {
            return refuse(
                "--targets gives the targets of classes, and these data have real targets; remove it".into(),
            );
        }
        let argmax =
            |op: &super::Op| matches!(op.what, What::Reduce { from, how: Reduction::Argmax } if from == target);
        if self.ops().any(argmax) {
            return refuse(format!(
                "--rule {rule} learns classes, and these data have real targets; choose another rule"
            ));
        }
        Ok(())
    }

    /// The interface that a data set must fit.
    pub fn interface(&self) -> Interface<'_> {
        let images = self.images().map(|(_, images)| images);
        Interface {
            network: self.task.network.clone(),
            inputs: self.inputs(),
            form: images.and_then(|images| images.form),
            scale: images.and_then(|images| images.scale.as_ref()),
            outputs: self.outputs(),
        }
    }
}
