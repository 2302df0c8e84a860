//! Images of numbers, as PNG in data URLs: receptive fields, and activities.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ndarray::Array2;
use zilch::error::{Error, Result};

/// The palette index of white. Index 0 is the darkest blue, and twice this index the darkest red.
const WHITE_LEVEL: u8 = 127;
/// The size of an image on the page, in pixels, that is aimed at.
const SHOWN: usize = 600;

/// Palette indices, row by row.
struct Levels {
    of: Vec<u8>,
    width: usize,
    height: usize,
}

/// The palette index of a value in an image whose largest magnitude is `largest`. NaN and infinity are white.
fn level(value: f64, largest: f64) -> u8 {
    if !value.is_finite() || largest <= 0.0 || !largest.is_finite() {
        return WHITE_LEVEL;
    }
    let level = f64::from(WHITE_LEVEL) * (1.0 + (value / largest).clamp(-1.0, 1.0));
    level.round() as u8
}

/// Draws receptive fields side by side: the input weights of each unit as an image of the input's shape. White is 0,
/// red is positive, and blue is negative. Every image has its own scale.
///
/// # Errors
/// [`Error::Usage`] when there is nothing to draw.
pub fn receptive_fields(theta: &Array2<f32>, rows: usize, units: usize) -> Result<String> {
    let (there, pixels) = theta.dim();
    let units = units.min(there);
    if units == 0 || rows == 0 || pixels == 0 || !pixels.is_multiple_of(rows) {
        return Err(Error::usage(format!("{pixels} weights a unit make no image of {rows} rows; give --rows")));
    }
    let cols = pixels / rows;
    let across = (units as f64).sqrt().ceil() as usize;
    let down = units.div_ceil(across);
    // One white pixel between images.
    let (width, height) = (across * (cols + 1) + 1, down * (rows + 1) + 1);
    let mut image = vec![WHITE_LEVEL; width * height];
    for u in 0..units {
        let unit = theta.row(u);
        let largest = unit.iter().filter(|w| w.is_finite()).fold(0.0f32, |m, w| m.max(w.abs()));
        let corner = (1 + (u / across) * (rows + 1), 1 + (u % across) * (cols + 1));
        for (i, w) in unit.iter().enumerate() {
            let at = (corner.0 + i / cols) * width + corner.1 + i % cols;
            image[at] = level(f64::from(*w), f64::from(largest));
        }
    }
    svg(&Levels { of: image, width, height }, (SHOWN / width).max(2))
}

/// Draws a matrix: one row of squares per row. White is 0, red is positive, and blue is negative.
///
/// # Errors
/// [`Error::Usage`] when there is nothing to draw.
pub fn heat(values: &Array2<f64>) -> Result<String> {
    let (height, width) = values.dim();
    if values.is_empty() {
        return Err(Error::usage("an image without numbers cannot be drawn"));
    }
    let largest = values.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    let of = values.iter().map(|v| level(*v, largest)).collect();
    svg(&Levels { of, width, height }, (SHOWN / width).clamp(2, 14))
}

/// An SVG with one image, each pixel of which is shown as a square of `scale` pixels.
fn svg(levels: &Levels, scale: usize) -> Result<String> {
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\"><image width=\"{0}\" \
         height=\"{1}\" style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{2}\"/></svg>\n",
        scale * levels.width,
        scale * levels.height,
        STANDARD.encode(png(levels)?)
    ))
}

/// A PNG with a palette from blue over white to red.
fn png(levels: &Levels) -> Result<Vec<u8>> {
    let failed = |e: png::EncodingError| Error::usage(format!("cannot draw the image: {e}"));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, levels.width as u32, levels.height as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    let color = |level: u8| {
        let away = f32::from(level.abs_diff(WHITE_LEVEL)) / f32::from(WHITE_LEVEL);
        let pale = (255.0 * (1.0 - away.min(1.0))) as u8;
        if level < WHITE_LEVEL { [pale, pale, 255] } else { [255, pale, pale] }
    };
    encoder.set_palette((0..=255).flat_map(color).collect::<Vec<u8>>());
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&levels.of).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The colours of the image in an SVG, row by row.
    fn pixels(svg: &str) -> (usize, Vec<[u8; 3]>) {
        let (_, rest) = svg.split_once("base64,").expect("an image");
        let bytes = STANDARD.decode(rest.split('"').next().expect("its end")).expect("base64");
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().expect("a PNG");
        let mut image = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut image).expect("an image");
        image.truncate(info.buffer_size());
        (info.width as usize, image.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect())
    }

    #[test]
    fn receptive_fields_are_where_their_units_are() {
        // Two units of 2 × 3 pixels. The first is 0 except in its last pixel; the second is constant and negative.
        let theta = Array2::from_shape_fn((2, 6), |(u, i)| if u == 0 { f32::from(u8::from(i == 5)) } else { -0.5 });
        let svg = receptive_fields(&theta, 2, 9).expect("a picture");
        let (width, image) = pixels(&svg);
        assert_eq!((width, image.len()), (9, 36));
        let pixel = |row: usize, col: usize| image[row * width + col];
        let (red, white, blue) = ([255, 0, 0], [255, 255, 255], [0, 0, 255]);
        assert_eq!([pixel(2, 3), pixel(1, 1), pixel(1, 5), pixel(2, 7), pixel(0, 0)], [red, white, blue, blue, white]);
        assert!(receptive_fields(&theta, 4, 9).is_err() && receptive_fields(&theta, 2, 0).is_err());
    }

    #[test]
    fn any_numbers_have_a_colour() {
        let values = Array2::from_shape_vec((2, 3), vec![1.0, -1.0, 0.0, f64::NAN, f64::INFINITY, 0.5]).expect("2 × 3");
        let (width, image) = pixels(&heat(&values).expect("an image"));
        assert_eq!(width, 3);
        assert_eq!(image[..5], [[255, 0, 0], [0, 0, 255], [255; 3], [255; 3], [255; 3]]);
        let huge = Array2::from_shape_vec((1, 2), vec![f64::MAX, f64::MIN]).expect("1 × 2");
        assert_eq!(pixels(&heat(&huge).expect("an image")).1, [[255, 0, 0], [0, 0, 255]]);
        assert!(heat(&Array2::zeros((0, 3))).is_err());
    }
}
