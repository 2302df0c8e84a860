//! What fills slots before an update: images, labels, arrays that a caller brings.

use super::augment::Augment;
use super::{Domain, Grid, Pixels, Plan, SlotId};
use crate::plan::activation::Activation;

/// A slot that is filled from data before each update. A slot of units that no feed fills is the rule's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Feed {
    /// The slot of units, [batch, n].
    pub slot: SlotId,
    /// Where its values come from.
    pub source: Source,
}

/// Where the values of a feed come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// f((p / 255 − mean) / sd) of each pixel p of a sample.
    Pixels(Images),
    /// One value per class: the first at all units but the label's, the second at the label's.
    Labels([f32; 2]),
    /// An array of this name, which the caller brings with each batch ([`crate::device::BlockingSession::step_with`]).
    Array(String),
}

impl Source {
    /// The name by which a caller brings an array in its place.
    pub fn name(&self) -> &str {
        match self {
            Source::Pixels(_) => "input",
            Source::Labels(_) => "target",
            Source::Array(name) => name,
        }
    }
}

/// How images become the activity of a population.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// Channels, rows and columns that the network expects, where it does.
    pub form: Option<Grid>,
    /// What pixels are scaled by; `None` is p / 255.
    pub scale: Option<Pixels>,
    /// f
    pub activation: Activation,
    /// How training images are changed before they are shown.
    pub augment: Augment,
}

/// What a network takes and answers, as a data set has to fit it.
#[derive(Debug, Clone, PartialEq)]
pub struct Interface<'a> {
    /// The network, as messages give it.
    pub network: String,
    /// Units that pixels go to.
    pub inputs: usize,
    /// Channels, rows and columns of images, where the network expects some.
    pub form: Option<Grid>,
    /// What pixels are scaled by.
    pub scale: Option<&'a Pixels>,
    /// Units that labels go to, one per class.
    pub outputs: usize,
}

impl<'a> From<&'a Plan> for Interface<'a> {
    fn from(plan: &'a Plan) -> Self {
        plan.interface()
    }
}

impl Plan {
    /// The slot that images fill, and how.
    pub fn images(&self) -> Option<(SlotId, &Images)> {
        self.feeds.iter().find_map(|feed| match &feed.source {
            Source::Pixels(images) => Some((feed.slot, images)),
            _ => None,
        })
    }

    /// The slot that labels fill, and the values at the other classes' units and at the label's.
    pub fn labels(&self) -> Option<(SlotId, [f32; 2])> {
        self.feeds.iter().find_map(|feed| match feed.source {
            Source::Labels(values) => Some((feed.slot, values)),
            _ => None,
        })
    }

    /// The slot that images fill; every plan that was validated has one.
    pub fn input(&self) -> SlotId {
        self.images().map_or(SlotId(0), |(slot, _)| slot)
    }

    /// The slot that labels fill; every plan that was validated has one.
    pub fn target(&self) -> SlotId {
        self.labels().map_or(SlotId(0), |(slot, _)| slot)
    }

    /// Units of a slot's population, at one place.
    pub(crate) fn width(&self, slot: SlotId) -> usize {
        match self.slots.get(slot.0).map(|slot| slot.home) {
            Some(home @ Domain::Units(_)) => self.extent(home),
            _ => 0,
        }
    }

    /// Units that images go to.
    pub fn inputs(&self) -> usize {
        self.width(self.input())
    }

    /// Units that labels go to.
    pub fn outputs(&self) -> usize {
        self.width(self.target())
    }

    /// What a data set has to fit.
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
