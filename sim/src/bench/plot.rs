//! Plots, as SVG.

use crate::Error;
use plotters::prelude::*;

const SIZE: (u32, u32) = (620, 360);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
    RGBColor(90, 90, 90),
];

/// Lines over two axes, both logarithmic. What is not above 0 has no place there, and is left out.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Plot {
    /// The plot, or nothing if there are no points.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub(super) fn svg(&self) -> Result<Option<String>, Error> {
        let shown = |(_, points): &(String, Vec<(f64, f64)>)| -> Vec<(f64, f64)> {
            let fit = |number: f64| number.is_finite() && number > 0.0;
            points.iter().copied().filter(|(x, y)| fit(*x) && fit(*y)).collect()
        };
        let lines: Vec<Vec<(f64, f64)>> = self.lines.iter().map(shown).collect();
        let all: Vec<(f64, f64)> = lines.concat();
        if all.is_empty() {
            return Ok(None);
        }
        let (xs, ys) = (all.iter().map(|(x, _)| *x), all.iter().map(|(_, y)| *y));
        let (x, y) = (around(xs, 1.2), around(ys, 1.6));
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .caption(&self.title, ("sans-serif", 17))
                .margin(10)
                .x_label_area_size(38)
                .y_label_area_size(64)
                .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
            let label = |number: &f64| plain(*number);
            chart
                .configure_mesh()
                .x_desc(self.x)
                .y_desc(self.y)
                .x_label_formatter(&label)
                .y_label_formatter(&label)
                .light_line_style(TRANSPARENT)
                .draw()?;
            for (at, ((name, _), points)) in self.lines.iter().zip(&lines).enumerate() {
                let colour = COLOURS[at % COLOURS.len()];
                chart
                    .draw_series(
                        LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3),
                    )?
                    .label(name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.8))
                .draw()?;
            area.present()?;
        }
        Ok(Some(svg))
    }
}

/// A range that holds all of these, with room around them.
fn around(numbers: impl Iterator<Item = f64> + Clone, room: f64) -> (f64, f64) {
    let low = numbers.clone().fold(f64::INFINITY, f64::min);
    let high = numbers.fold(0.0, f64::max);
    (low / room, high * room)
}

/// A number of three digits at most, such as 0.05, 12, 1k or 2M.
fn plain(number: f64) -> String {
    let (number, unit) = match number {
        1e6.. => (number / 1e6, "M"),
        1e3.. => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let digits = usize::from(number < 10.0) + usize::from(number < 1.0) + usize::from(number < 0.1);
    let text = format!("{number:.digits$}");
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{short}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_its_lines_and_leaves_out_what_has_no_place() {
        let points = vec![(1.0, 2.0), (10.0, 0.0), (100.0, f64::NAN), (1000.0, 40.0)];
        let mut plot =
            Plot { title: "a <b>".into(), x: "clients", y: "ms", lines: vec![("p50".into(), points)] };
        let svg = plot.svg().unwrap().unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("p50") && !svg.contains("a <b>"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        plot.lines = vec![("p50".into(), vec![(1.0, 0.0)])];
        assert_eq!(plot.svg().unwrap(), None);
    }

    #[test]
    fn labels_are_short() {
        let shown = [0.05, 0.2, 1.0, 2.5, 16.0, 250.0, 1000.0, 2_000_000.0].map(plain);
        assert_eq!(shown, ["0.05", "0.2", "1", "2.5", "16", "250", "1k", "2M"]);
    }
}
