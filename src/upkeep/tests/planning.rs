//! Which files are chosen, on made-up files and a made-up clock.

use std::time::Duration;

use deltalake::kernel::{Add, Remove};
use proptest::prelude::*;

use crate::upkeep::Selection;
use crate::upkeep::plan::{Candidate, Job, compaction};

const MIB: u64 = 1 << 20;
const TARGET: u64 = 128 * MIB;

fn file(number: usize, bytes: u64, day: &str, modified: i64) -> Candidate {
    let add = Add {
        path: format!("part-{number:05}"),
        size: bytes as i64,
        modification_time: modified,
        partition_values: [("day".to_owned(), Some(day.to_owned()))].into(),
        ..Default::default()
    };
    let remove = Remove { path: add.path.clone(), ..Default::default() };
    Candidate { add, remove }
}

fn worthwhile() -> Selection {
    Selection::Worthwhile { min_files: 4, settle: Duration::from_secs(600) }
}

fn sizes(jobs: &[Job]) -> Vec<Vec<u64>> {
    jobs.iter().map(|job| job.files.iter().map(|f| f.bytes() / MIB).collect()).collect()
}

#[test]
fn all_that_can_be_merged_is() {
    let sizes_of = |mib: &[u64]| -> Vec<Vec<u64>> {
        let files = mib.iter().enumerate().map(|(i, mib)| file(i, mib * MIB, "a", i as i64));
        sizes(&compaction(files.collect(), TARGET, Selection::All, 0))
    };
    assert_eq!(sizes_of(&[1, 1]), [[1, 1]]);
    assert!(sizes_of(&[1]).is_empty(), "one file is as good as it gets");
    assert_eq!(sizes_of(&[1, 100, 1]), [[1, 1]], "large enough stays");
    assert_eq!(sizes_of(&[90, 90, 30, 5]), [vec![90, 30, 5]], "groups keep to the target");
}

#[test]
fn a_run_every_hour_does_not_write_everything_again_every_hour() {
    // A week of hours with 360 files of 10 kB each; the runs' own files come in between.
    let mut files: Vec<Candidate> = Vec::new();
    let (mut number, mut written, mut appended) = (0, 0u64, 0u64);
    let mut most = 0;
    for hour in 0..168i64 {
        for _ in 0..360 {
            files.push(file(number, 10_000, "a", hour * 3_600_000));
            number += 1;
            appended += 10_000;
        }
        let jobs = compaction(files.clone(), TARGET, worthwhile(), hour * 3_600_000);
        for job in jobs {
            let gone: Vec<&str> = job.files.iter().map(|f| f.add.path.as_str()).collect();
            files.retain(|file| !gone.contains(&file.add.path.as_str()));
            written += job.bytes();
            files.push(file(number, job.bytes(), "a", hour * 3_600_000));
            number += 1;
        }
        most = most.max(files.len());
        assert_eq!(files.iter().map(Candidate::bytes).sum::<u64>(), appended);
    }
    assert!(files.len() <= 16, "{} files are left", files.len());
    assert!(written < appended * 8, "each byte was written {} times", written / appended);
    assert!(most < 400, "{most}");
}

#[test]
fn a_partition_that_is_written_to_waits() {
    let now = 100 * 3_600_000;
    let of = |count: usize, age_ms: i64| -> usize {
        let files = (0..count).map(|i| file(i, MIB, "a", now - age_ms));
        compaction(files.collect(), TARGET, worthwhile(), now).len()
    };
    assert_eq!((of(3, 3_600_000), of(4, 3_600_000)), (0, 1), "quiet for an hour");
    assert_eq!((of(15, 1000), of(16, 1000)), (0, 1), "written to a second ago");
}

proptest! {
    #[test]
    fn no_file_is_chosen_twice_and_partitions_are_not_mixed(
        given in prop::collection::vec((0..3u8, 1..200 * MIB, 0..1000i64), 0..60),
        all in any::<bool>(),
        now in 0..2000i64,
    ) {
        let days = ["a", "b", "c"];
        let files: Vec<_> = given.iter().enumerate()
            .map(|(i, (day, bytes, at))| file(i, *bytes, days[*day as usize], *at)).collect();
        let selection = if all { Selection::All } else { worthwhile() };
        let jobs = compaction(files, TARGET, selection, now);
        let mut seen = std::collections::HashSet::new();
        for job in &jobs {
            prop_assert!(job.files.len() > 1);
            prop_assert!(job.bytes() <= TARGET);
            for file in &job.files {
                prop_assert!(seen.insert(file.add.path.clone()));
                prop_assert_eq!(&file.add.partition_values, &job.partition);
            }
        }
    }
}
