//! The rows as a table and a bar chart, in `docs/benchmarks/`.

use plotters::prelude::*;
use std::fmt::Write as _;
use std::path::Path;

/// One row: CPU time of one request on both sides, in microseconds.
pub(crate) struct Bar {
    pub name: &'static str,
    pub souk: f64,
    pub native: f64,
}

/// Writes the table and the chart; `further` follows the table.
pub(crate) fn write(bars: &[Bar], further: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("requests.md"), table(bars) + further).unwrap();
    std::fs::write(folder.join("requests.svg"), chart(bars)).unwrap();
    println!("written to {}\n", folder.display());
}

fn table(bars: &[Bar]) -> String {
    let profile = if cfg!(debug_assertions) { "dev" } else { "optimised" };
    let mut table = format!(
        "# CPU of a request, against native Rust\n\nWritten by `cargo bench --bench requests --features full` \
         ({profile} build; `--profile dist` is what is installed). The native server has the same profile and the same \
         allocator, jemalloc. Ratios travel to other machines, absolute figures do not.\n\n\
         ![CPU of a request](requests.svg)\n\n| row | Souk, us | native, us | x native |\n|---|---|---|---|\n"
    );
    for Bar { name, souk, native } in bars {
        writeln!(table, "| {name} | {souk:.1} | {native:.1} | {:.1} |", souk / native).unwrap();
    }
    table
}

/// The CPU time of each row in multiples of the native server's, as bars; a line marks the native server.
fn chart(bars: &[Bar]) -> String {
    const ROW: u32 = 34;
    let ratio = |bar: &Bar| bar.souk / bar.native;
    let most = bars.iter().map(ratio).fold(2.0, f64::max) * 1.15;
    let rows = bars.len();
    let height = ROW * u32::try_from(rows).unwrap() + 90;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (720, height)).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let caption = "CPU of a request: Souk, in multiples of native Rust";
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(190)
            .build_cartesian_2d(0.0..most, (0..rows.saturating_sub(1)).into_segmented())
            .unwrap();
        let label = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) => bars.iter().rev().nth(*at).map_or("", |bar| bar.name).to_owned(),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_max_light_lines(1)
            .y_labels(rows)
            .y_label_formatter(&label)
            .draw()
            .unwrap();
        let colour = RGBColor(0x2f, 0x6d, 0xa8);
        // The first row is at the top.
        let placed = || bars.iter().rev().enumerate();
        let rectangles = placed().map(|(at, bar)| {
            let corners = [(0.0, SegmentValue::Exact(at)), (ratio(bar), SegmentValue::Exact(at + 1))];
            let mut rectangle = Rectangle::new(corners, colour.filled());
            rectangle.set_margin(6, 6, 0, 0);
            rectangle
        });
        chart.draw_series(rectangles).unwrap();
        let figures = placed().map(|(at, bar)| {
            let text = format!(" {:.1}", ratio(bar));
            Text::new(text, (ratio(bar), SegmentValue::CenterOf(at)), ("sans-serif", 14))
        });
        chart.draw_series(figures).unwrap();
        let native = [(1.0, SegmentValue::Exact(0)), (1.0, SegmentValue::Exact(rows))];
        chart.draw_series([PathElement::new(native, BLACK.stroke_width(2))]).unwrap();
        area.present().unwrap();
    }
    svg
}
