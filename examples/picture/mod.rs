//! Pictures of the examples, as SVG: curves and maps of values. Where an example is run, its picture lies in `target/gallery`.
// Each example uses some of these.
#![allow(dead_code, reason = "each example compiles this module for itself and draws one kind of picture")]

use std::path::{Path, PathBuf};
use zilch::Result;

/// Colours that people with any kind of colour vision tell apart (Okabe & Ito 2008).
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
/// Width and height of a plot, and the margins around it.
const PLOT: [f64; 2] = [420.0, 220.0];
const MARGIN: [f64; 4] = [60.0, 20.0, 150.0, 50.0];

/// The folder for pictures: the second argument of the example, else `target/gallery`.
pub(crate) fn folder() -> PathBuf {
    std::env::args_os().nth(2).map_or_else(|| PathBuf::from("target/gallery"), PathBuf::from)
}

/// A named curve of values over 1, 2, 3, …
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

/// Writes curves over 1, 2, 3, … to `NAME.svg`.
pub(crate) fn curves(folder: &Path, name: &str, [x, y]: [&str; 2], curves: &[Curve]) -> Result<PathBuf> {
    let most = curves.iter().flat_map(|c| &c.values).copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let count = curves.iter().map(|c| c.values.len()).max().unwrap_or(1).max(2);
    let at = |i: usize, v: f64| {
        let across = MARGIN[0] + PLOT[0] * i as f64 / (count - 1) as f64;
        format!("{across:.1},{:.1}", MARGIN[1] + PLOT[1] * (1.0 - v / most))
    };
    let mut body = axes([x, y], ["1".into(), count.to_string()], ["0".into(), format!("{most:.3}")]);
    for (k, curve) in curves.iter().enumerate() {
        let colour = COLOURS[k % COLOURS.len()];
        let points: Vec<String> = curve.values.iter().enumerate().map(|(i, v)| at(i, *v)).collect();
        body += &format!("<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2'/>\n", points.join(" "));
        let down = MARGIN[1] + 14.0 + 20.0 * k as f64;
        let right = MARGIN[0] + PLOT[0] + 12.0;
        body += &format!("<text x='{right}' y='{down}' fill='{colour}'>{}</text>\n", curve.name);
    }
    write(folder, name, &body)
}

/// Writes a map to `NAME.svg`: `values[row][column]` from 0 to 1, with a name per row.
pub(crate) fn map(
    folder: &Path,
    name: &str,
    [x, y]: [&str; 2],
    rows: &[String],
    values: &[Vec<f64>],
) -> Result<PathBuf> {
    let columns = values.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let (wide, high) = (PLOT[0] / columns as f64, PLOT[1] / values.len().max(1) as f64);
    let mut body = axes([x, y], ["0".into(), (columns - 1).to_string()], [String::new(), String::new()]);
    for (row, line) in values.iter().enumerate() {
        let down = MARGIN[1] + high * row as f64;
        for (column, value) in line.iter().enumerate() {
            let across = MARGIN[0] + wide * column as f64;
            // From white to blue.
            let shade = |dark: f64| (255.0 - (255.0 - dark) * value.clamp(0.0, 1.0)) as u8;
            let [r, g, b] = [shade(0.0), shade(114.0), shade(178.0)];
            body += &format!(
                "<rect x='{across:.2}' y='{down:.2}' width='{wide:.2}' height='{high:.2}' fill='rgb({r},{g},{b})'/>\n"
            );
        }
        if let Some(label) = rows.get(row) {
            let middle = down + high / 2.0 + 4.0;
            body += &format!("<text x='{}' y='{middle:.1}'>{label}</text>\n", MARGIN[0] + PLOT[0] + 12.0);
        }
    }
    write(folder, name, &body)
}

/// The frame of a plot, its labels, and the ends of its axes.
fn axes([x, y]: [&str; 2], [first, last]: [String; 2], [low, high]: [String; 2]) -> String {
    let [left, top] = [MARGIN[0], MARGIN[1]];
    let [right, bottom] = [left + PLOT[0], top + PLOT[1]];
    let mut text =
        format!("<rect x='{left}' y='{top}' width='{}' height='{}' fill='none' stroke='#888'/>\n", PLOT[0], PLOT[1]);
    let mut say = |x: f64, y: f64, anchor: &str, words: &str| {
        text += &format!("<text x='{x}' y='{y}' text-anchor='{anchor}'>{words}</text>\n");
    };
    say(left, bottom + 18.0, "middle", &first);
    say(right, bottom + 18.0, "middle", &last);
    say(left - 8.0, bottom, "end", &low);
    say(left - 8.0, top + 10.0, "end", &high);
    say((left + right) / 2.0, bottom + 36.0, "middle", x);
    let middle = (top + bottom) / 2.0;
    text + &format!("<text x='16' y='{middle}' text-anchor='middle' transform='rotate(-90 16 {middle})'>{y}</text>\n")
}

fn write(folder: &Path, name: &str, body: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(|e| zilch::Error::io(folder, e))?;
    let path = folder.join(format!("{name}.svg"));
    let [wide, high] = [MARGIN[0] + PLOT[0] + MARGIN[2], MARGIN[1] + PLOT[1] + MARGIN[3]];
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {wide} {high}' font-family='sans-serif' font-size='13'>\n\
         <rect width='{wide}' height='{high}' fill='white'/>\n{body}</svg>\n"
    );
    zilch::files::write_text(&path, &svg)?;
    println!("the picture is {}", path.display());
    Ok(path)
}
