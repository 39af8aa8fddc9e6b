use proptest::prelude::*;

use super::*;

fn lines() -> Framing {
    Framing::Lines { skip_blank: false }
}

fn csv() -> CsvFraming {
    CsvFraming { quote: Some(b'"'), ..CsvFraming::default() }
}

/// Cuts `bytes` when they arrive in pieces of `step`.
fn cut_all(framing: &Framing, bytes: &[u8], step: usize) -> Vec<(Vec<u8>, u64)> {
    let mut cutter = Cutter::new(framing.clone());
    let (mut records, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        let last = end == bytes.len();
        match cutter.cut(&bytes[start..end], last) {
            Cut::Record { len, next, lines } => {
                records.push((bytes[start..start + len].to_vec(), lines));
                start += next;
            }
            Cut::More if last => break,
            Cut::More => end = (end + step).min(bytes.len()),
        }
    }
    assert_eq!(start, bytes.len(), "everything is cut");
    records
}

fn texts(framing: &Framing, text: &str) -> Vec<String> {
    let cut = cut_all(framing, text.as_bytes(), 3);
    cut.into_iter().map(|(record, _)| String::from_utf8(record).unwrap()).collect()
}

#[test]
fn lines_end_with_a_newline_or_the_file() {
    assert_eq!(texts(&lines(), "a\nb\r\n\n\r\nc"), ["a", "b", "", "", "c"]);
    assert_eq!(texts(&lines(), "a\n"), ["a"]);
    assert_eq!(texts(&lines(), ""), [""; 0]);
    assert_eq!(texts(&lines(), "a\rb\n"), ["a\rb"]);
}

#[test]
fn a_quoted_field_may_hold_line_ends() {
    let framing = Framing::Csv(csv());
    assert_eq!(texts(&framing, "1,\"a\nb\",2\n3,c\n"), ["1,\"a\nb\",2", "3,c"]);
    assert_eq!(texts(&framing, "\"x\"\"\n\"\r\ny"), ["\"x\"\"\n\"", "y"]);
    let cut = cut_all(&framing, b"\"a\n\nb\",1\nz\n", 100);
    assert_eq!(cut.iter().map(|(_, lines)| *lines).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn a_quote_inside_a_field_is_a_character() {
    let framing = Framing::Csv(csv());
    assert_eq!(texts(&framing, "5\" pipe,3\n6\" pipe,4\n"), ["5\" pipe,3", "6\" pipe,4"]);
    assert_eq!(texts(&framing, "\"a\" b,\"\n\"\nc\n"), ["\"a\" b,\"\n\"", "c"]);
}

#[test]
fn an_escaped_quote_does_not_close_a_field() {
    let framing = Framing::Csv(CsvFraming { escape: Some(b'\\'), ..csv() });
    assert_eq!(texts(&framing, "\"a\\\"\nb\",1\nc\n"), ["\"a\\\"\nb\",1", "c"]);
}

#[test]
fn a_quote_that_is_never_closed_costs_its_own_line() {
    let framing = Framing::Csv(csv());
    assert_eq!(texts(&framing, "a,1\n\"b,2\nc,3\nd"), ["a,1", "\"b,2", "c,3", "d"]);
}

#[test]
fn many_open_quotes_do_not_cost_a_look_at_the_whole_file_each() {
    let text = "\"open\nx,1\n".repeat(50_001);
    let began = std::time::Instant::now();
    let mut cutter = Cutter::new(Framing::Csv(csv()));
    let (mut rest, mut records) = (text.as_bytes(), 0);
    while let Cut::Record { next, .. } = cutter.cut(rest, true) {
        rest = &rest[next..];
        records += 1;
    }
    assert!(rest.is_empty() && records > 50_000);
    assert!(began.elapsed().as_secs() < 20, "quadratic");
}

#[test]
fn fillers_are_blank_lines_and_comments() {
    let json = Cutter::new(Framing::Lines { skip_blank: true });
    assert!(json.is_filler(b" \t") && json.is_filler(b"") && !json.is_filler(b"{}"));
    assert!(!Cutter::new(lines()).is_filler(b""));
    let csv = Cutter::new(Framing::Csv(CsvFraming { comment: Some(b'#'), ..csv() }));
    assert!(csv.is_filler(b"# no record") && csv.is_filler(b"") && !csv.is_filler(b"a#"));
}

proptest! {
    #[test]
    fn pieces_do_not_matter(text in "[ab,\"\\\\\n\r]{0,60}", step in 1usize..9) {
        for framing in [
            lines(),
            Framing::Csv(csv()),
            Framing::Csv(CsvFraming { escape: Some(b'\\'), ..csv() }),
            Framing::Whole,
        ] {
            let whole = cut_all(&framing, text.as_bytes(), text.len().max(1));
            let pieces = cut_all(&framing, text.as_bytes(), step);
            prop_assert_eq!(whole, pieces);
        }
    }

    #[test]
    fn what_a_csv_writer_writes_is_cut_where_it_ended_records(
        rows in prop::collection::vec(prop::collection::vec("[ab,\"\n\r ]{0,6}", 3), 1..8),
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut expected = Vec::new();
        for row in &rows {
            writer.write_record(row).unwrap();
            expected.push(row.clone());
        }
        let bytes = writer.into_inner().unwrap();
        let cut = cut_all(&Framing::Csv(self::csv()), &bytes, 5);
        let read: Vec<Vec<String>> = cut
            .iter()
            .flat_map(|(record, _)| {
                let mut reader =
                    csv::ReaderBuilder::new().has_headers(false).from_reader(&record[..]);
                reader
                    .records()
                    .map(|fields| fields.unwrap().iter().map(str::to_owned).collect())
                    .collect::<Vec<Vec<String>>>()
            })
            .collect();
        prop_assert_eq!(read, expected);
    }
}
