use std::fs;
use std::io::Read as _;

use super::*;

fn minutes(values: &[f64]) -> Vec<(f64, f64)> {
    // From 2026-11-21 20:00:00 UTC on.
    let start = 1_795_291_200e6;
    values.iter().enumerate().map(|(i, v)| (start + i as f64 * 60e6, *v)).collect()
}

fn chart() -> Chart {
    let mut values: Vec<f64> = (0..60).map(|i| 400.0 + 80.0 * (f64::from(i) / 9.0).sin()).collect();
    values[40] = 2400.0;
    values[20] = f64::NAN;
    let points = minutes(&values);
    let (x, y) = points[40];
    let band = points.iter().map(|(x, _)| (*x, 250.0, 600.0)).collect();
    let mut chart =
        Chart::new("requests of <b> & \"c\"\u{1b}[31m", Axis::time(""), Axis::number("requests"));
    chart.series.push(Series { name: "requests".into(), kind: SeriesKind::Line, points });
    chart.bands.push(Band { name: "expected".into(), points: band });
    chart.marks.push(Mark { x, y, label: "4 times".into(), severity: Severity::Critical });
    chart
}

/// Reads the tags of a well-formed document; panics on any other.
fn tags(text: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a bare > in {}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split_whitespace().next().expect("a tag has a name").trim_end_matches('/');
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        found.push(name.to_owned());
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?} are left open");
    for (at, _) in text.match_indices('&') {
        let entity = &text[at..(at + 7).min(text.len())];
        let known = ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;"];
        assert!(known.iter().any(|known| entity.starts_with(known)), "{entity}");
    }
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    found
}

#[test]
fn an_svg_is_well_formed_and_has_all_of_the_chart() {
    let text = svg(&chart(), Size::default()).unwrap();
    let tags = tags(&text);
    assert_eq!(tags[0], "svg");
    // The gap makes two lines of one series; the band is one polygon.
    let lines: Vec<&str> =
        text.lines().filter(|l| l.contains("<polyline") && l.contains("0072B2")).collect();
    assert_eq!(lines.len(), 3, "two stretches and the legend");
    assert_eq!(tags.iter().filter(|t| *t == "polygon").count(), 1);
    for wanted in [
        "requests of &lt;b&gt; &amp; &quot;c&quot;",
        "expected",
        "4 times",
        "critical",
        "20:30",
        "2026-11-21 UTC",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
}

#[test]
fn a_file_says_by_its_ending_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chart.SVG");
    write(&chart(), &path, Size::default()).unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("<svg"));
    let error = write(&chart(), &dir.path().join("chart.gif"), Size::default()).unwrap_err();
    assert!(error.to_string().contains(".svg or .png, not to "), "{error}");
    let nowhere = dir.path().join("no/such/dir/chart.png");
    let error = write(&chart(), &nowhere, Size::default()).unwrap_err();
    assert!(matches!(error, PlotError::Write { .. }), "{error}");
}

/// The pixels of a PNG of 8 bits a channel, checked down to its checksums.
fn decoded(bytes: &[u8]) -> (u32, u32, Vec<u8>) {
    assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut packed) = (8, Vec::new());
    let mut ended = false;
    while at < bytes.len() {
        let length = word(at) as usize;
        let body = &bytes[at + 4..at + 8 + length];
        assert_eq!(crc32fast::hash(body), word(at + 8 + length), "a damaged chunk");
        match &body[..4] {
            b"IDAT" => packed.extend_from_slice(&body[4..]),
            b"IEND" => ended = true,
            _ => {}
        }
        at += 12 + length;
    }
    assert!(ended);
    assert_eq!(bytes[24..26], [8, 2], "24 bits a pixel");
    let (width, height) = (word(16), word(20));
    let mut rows = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut rows).unwrap();
    let stride = width as usize * 3;
    let mut pixels: Vec<u8> = Vec::new();
    for (i, row) in rows.chunks_exact(stride + 1).enumerate() {
        for (j, raw) in row[1..].iter().enumerate() {
            let get = |up: usize, left: usize| {
                if up > i || j < left { 0 } else { i32::from(pixels[(i - up) * stride + j - left]) }
            };
            let (a, b, c) = (get(0, 3), get(1, 0), get(1, 3));
            let predicted = match row[0] {
                0 => 0,
                1 => a,
                2 => b,
                3 => (a + b) / 2,
                _ => {
                    let p = a + b - c;
                    let order = [(p - a).abs(), (p - b).abs(), (p - c).abs()];
                    if order[0] <= order[1] && order[0] <= order[2] {
                        a
                    } else if order[1] <= order[2] {
                        b
                    } else {
                        c
                    }
                }
            };
            pixels.push(raw.wrapping_add(predicted as u8));
        }
    }
    (width, height, pixels)
}

#[test]
fn a_png_decodes_and_has_the_series_and_its_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chart.png");
    write_png(&chart(), &path, Size { width: 640, height: 320 }).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    let (width, height, pixels) = decoded(&fs::read(&path).unwrap());
    assert_eq!((width, height), (640, 320));
    assert_eq!(pixels.len(), 640 * 320 * 3);
    let count = |wanted: [u8; 3]| pixels.chunks_exact(3).filter(|p| **p == wanted).count();
    assert!(count([0, 114, 178]) > 300, "the line");
    assert!(count([200, 0, 30]) > 20, "the mark");
    let dark = |rows: std::ops::Range<usize>| {
        pixels[rows.start * 640 * 3..rows.end * 640 * 3]
            .chunks_exact(3)
            .filter(|p| p.iter().all(|c| *c < 120))
            .count()
    };
    assert!(dark(0..30) > 100, "the title is written");
    assert!(dark(270..320) > 50, "so are times");
}

#[test]
fn nothing_breaks_a_chart() {
    let extremes = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        1e300,
        -1e300,
        0.0,
        -0.0,
        1e-300,
        1.8e15,
        5.0,
    ];
    let scales = || {
        [
            Scale::Time,
            Scale::Number(Unit::None),
            Scale::Number(Unit::Seconds),
            Scale::Number(Unit::Bytes),
            Scale::Category(vec![]),
            Scale::Category(vec!["a".into(), String::new()]),
        ]
    };
    let small = Size { width: 1, height: 1 };
    let dir = tempfile::tempdir().unwrap();
    for (round, x) in scales().into_iter().enumerate() {
        for y in scales() {
            for a in extremes {
                for b in extremes {
                    let axis = |scale: &Scale| Axis { label: "l".into(), scale: scale.clone() };
                    let mut chart = Chart::new("", axis(&x), axis(&y));
                    for kind in [SeriesKind::Line, SeriesKind::Bar, SeriesKind::Points] {
                        let points = vec![(a, b), (b, a), (a, a)];
                        chart.series.push(Series { name: "s".into(), kind, points });
                    }
                    chart.bands.push(Band { name: "b".into(), points: vec![(a, b, a), (b, a, b)] });
                    chart.marks.push(Mark {
                        x: a,
                        y: b,
                        label: "m".into(),
                        severity: Severity::Info,
                    });
                    svg(&chart, small).unwrap();
                    for colour in [false, true] {
                        terminal(&chart, 0, 0, colour);
                    }
                    if round == 0 && a == 5.0 {
                        write_png(&chart, &dir.path().join("c.png"), small).unwrap();
                    }
                }
            }
        }
    }
    let empty = Chart::new("nothing", Axis::time(""), Axis::number(""));
    assert!(svg(&empty, Size::default()).unwrap().contains("no data"));
    assert_eq!(terminal(&empty, 40, 10, false), "nothing\n(no data)\n");
}

#[test]
fn a_terminal_shows_line_band_and_mark() {
    let mut chart = chart();
    chart.title = "requests".into();
    let text = terminal(&chart, 60, 14, false);
    same(&text, include_str!("testdata/line.txt"));
    assert!(text.lines().all(|line| line.chars().count() <= 60));
    let coloured = terminal(&chart, 60, 14, true);
    assert!(coloured.contains("\x1b[36m") && coloured.contains("\x1b[1;31m◆"));
}

#[test]
fn a_terminal_shows_bars_on_their_side() {
    let names = ["/api/checkout", "/", "/a/very/long/path/to/a/small/thing"];
    let names = names.iter().map(|n| (*n).to_owned()).collect();
    let mut chart = Chart::new("", Axis::category("", names), Axis::number("requests"));
    let points = vec![(0.0, 1200.0), (1.0, 45_678.0), (2.0, 3.0)];
    chart.series.push(Series { name: "n".into(), kind: SeriesKind::Bar, points });
    same(&terminal(&chart, 50, 10, false), include_str!("testdata/bars.txt"));
    chart.series[0].points[0].1 = -20_000.0;
    same(&terminal(&chart, 50, 10, false), include_str!("testdata/bars_negative.txt"));
}

#[test]
fn series_are_told_apart_without_colour() {
    let mut chart = Chart::new("", Axis::number("i"), Axis::number(""));
    for (name, factor) in [("one", 1.0), ("two", 2.0)] {
        let points = (0..10).map(|i| (f64::from(i), f64::from(i) * factor)).collect();
        chart.series.push(Series { name: name.into(), kind: SeriesKind::Line, points });
    }
    let text = terminal(&chart, 40, 10, false);
    assert!(text.contains("x two"), "{text}");
    assert!(text.matches('x').count() >= 9, "{text}");
    assert!(!text.contains('\x1b'));
}

/// Compares what was drawn with what is kept.
fn same(found: &str, kept: &str) {
    assert!(found == kept, "found:\n{found}\nkept:\n{kept}");
}
