//! Normalization of pixels at the input of a network.

use super::Interface;
use crate::error::{Error, Result};
use std::fmt;

/// Means and standard deviations for pixels p: the input is (p / 255 − mean) / sd. There is one pair for the whole
/// image, or one per channel. The channels are stored as consecutive planes.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels(Vec<[f32; 2]>);

impl Pixels {
    /// From the means, followed by the standard deviations. `None` if the list is empty or of odd length, if a number
    /// is not finite, if a standard deviation is not positive, or if a normalized pixel would not be finite.
    pub fn new(numbers: &[f32]) -> Option<Pixels> {
        let (means, deviations) = numbers.split_at(numbers.len() / 2);
        let pairs: Vec<[f32; 2]> = means.iter().zip(deviations).map(|(mean, sd)| [*mean, *sd]).collect();
        let can = |[mean, sd]: &[f32; 2]| *sd > 0.0 && sd.is_finite() && ((1.0 + mean.abs()) / sd).is_finite();
        (means.len() == deviations.len() && !pairs.is_empty() && pairs.iter().all(can)).then_some(Pixels(pairs))
    }

    /// Mean and standard deviation per channel; a single pair applies to the whole image.
    pub fn pairs(&self) -> &[[f32; 2]] {
        &self.0
    }

    /// The means, followed by the standard deviations, as in the text form.
    pub fn numbers(&self) -> Vec<f32> {
        [0, 1].into_iter().flat_map(|which| self.0.iter().map(move |pair| pair[which])).collect()
    }

    /// Number of inputs per pair. The last pair applies to the remaining inputs.
    pub(crate) fn plane(&self, inputs: usize) -> usize {
        inputs.div_ceil(self.0.len()).max(1)
    }

    /// Checks that the number of pairs is 1 or equals the number of input channels of the network. If the input is not
    /// an image, the number of inputs must be a multiple of the number of pairs.
    ///
    /// # Errors
    /// [`Error::Usage`] if they do not.
    pub fn check<'a>(&self, network: impl Into<Interface<'a>>) -> Result<()> {
        let network = network.into();
        match network.form {
            Some(grid) => self.check_channels(grid.channels),
            None if network.inputs.is_multiple_of(self.0.len()) => Ok(()),
            None => Err(Error::usage(format!(
                "--pixels gives {} means, but {} inputs are not an image of that many channels; give one mean and one standard \
                 deviation for all",
                self.0.len(),
                network.inputs
            ))),
        }
    }

    /// Checks that the pairs apply to images with this number of channels.
    ///
    /// # Errors
    /// [`Error::Usage`] if they do not.
    pub(crate) fn check_channels(&self, channels: usize) -> Result<()> {
        if self.0.len() == 1 || self.0.len() == channels {
            return Ok(());
        }
        let each = if channels == 1 { "as in 0.5,0.5" } else { "or one of each per channel" };
        Err(Error::usage(format!(
            "--pixels gives {} means, but an image has {channels} channel{}; give one mean and one standard deviation for all, \
             {each}",
            self.0.len(),
            if channels == 1 { "" } else { "s" }
        )))
    }
}

impl fmt::Display for Pixels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.numbers().iter().map(ToString::to_string).collect();
        out.write_str(&words.join(","))
    }
}

impl serde::Serialize for Pixels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.numbers().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_come_before_deviations() {
        let three = Pixels::new(&[0.5, 0.25, -1.0, 1.0, 2.0, 4.0]).expect("three channels");
        assert_eq!(three.pairs(), [[0.5, 1.0], [0.25, 2.0], [-1.0, 4.0]]);
        assert_eq!(three.to_string(), "0.5,0.25,-1,1,2,4");
        assert_eq!(serde_json::to_string(&three).expect("JSON"), "[0.5,0.25,-1.0,1.0,2.0,4.0]");
        assert_eq!((three.plane(3072), three.plane(9)), (1024, 3));
        for bad in
            [&[][..], &[0.5], &[0.5, 0.5, 0.5], &[0.5, 0.0], &[0.5, f32::NAN], &[f32::INFINITY, 1.0], &[1.0, 1e-45]]
        {
            assert_eq!(Pixels::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn channels_are_those_of_the_input() {
        let [one, three] = [&[0.5, 0.5][..], &[0.5, 0.5, 0.5, 1.0, 1.0, 1.0]].map(|n| Pixels::new(n).expect("pixels"));
        for (layers, fits) in
            [("3x4x4,2c3,5", true), ("12,5", true), ("4x4,2c3,5", false), ("13,5", false), ("2x3x3,5", false)]
        {
            let network = crate::Network::parse(layers).expect("layers");
            assert!(one.check(&network).is_ok(), "{layers}");
            assert_eq!(three.check(&network).is_ok(), fits, "{layers}");
        }
    }
}
