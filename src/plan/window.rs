//! Windows over grids, for convolution, pooling and flattening.
//!
//! A convolution is a dense projection applied at many places. Its operand at each place is the patch below it. A fixed
//! linear map without weights gathers the patches (im2col). Errors return through the transpose of this map. Fixed maps
//! are connections of a plan ([`crate::plan::Connection`]). A [`Window`] defines which units they connect.

/// Units arranged as channels on a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Number of units per place.
    pub channels: usize,
    /// Number of rows of places.
    pub height: usize,
    /// Number of places per row.
    pub width: usize,
}

impl Grid {
    /// Number of places.
    pub fn places(self) -> usize {
        self.height * self.width
    }

    /// Number of units over all places.
    pub fn units(self) -> usize {
        self.channels * self.places()
    }
}

/// A square window that slides over the grid of the sending units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Channels of the grid.
    pub channels: u32,
    /// Rows of the grid.
    pub height: u32,
    /// Columns of the grid.
    pub width: u32,
    /// Whether the senders are one place with channels · height · width units, channel by channel, like the images of a
    /// data set. Otherwise they are height · width places of `channels` units, in row-major order.
    pub planes: bool,
    /// Rows and columns of the window.
    pub kernel: u32,
    /// Stride in both directions, in places.
    pub stride: u32,
    /// Rows and columns of zero padding around the grid.
    pub padding: u32,
}

impl Window {
    /// Rows and columns of windows. `None` if no window fits or a parameter is out of range.
    pub fn places(&self) -> Option<[usize; 2]> {
        let side = |n: u32| {
            let all = n.checked_add(self.padding.checked_mul(2)?)?;
            let fits = n > 0 && self.kernel > 0 && self.stride > 0 && self.padding < self.kernel;
            fits.then(|| all.checked_sub(self.kernel).map(|rest| (rest / self.stride + 1) as usize))?
        };
        Some([side(self.height)?, side(self.width)?])
    }

    /// The sending units as `[units per place, places]`. `None` on overflow.
    pub fn senders(&self) -> Option<[usize; 2]> {
        let places = (self.height as usize).checked_mul(self.width as usize)?;
        let all = places.checked_mul(self.channels as usize)?;
        Some(if self.planes { [all, 1] } else { [self.channels as usize, places] })
    }

    /// Number of units of a patch: kernel² · channels. `None` on overflow.
    pub fn patch(&self) -> Option<usize> {
        (self.kernel as usize).checked_pow(2)?.checked_mul(self.channels as usize)
    }
}
