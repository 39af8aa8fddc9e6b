//! Against librdkafka's mock cluster.

use super::*;

#[test]
fn a_split_name_reads_back_even_when_the_topic_has_dashes() {
    assert_eq!(parse_split(&split_name("web-logs", 3)), Some(("web-logs", 3)));
    assert_eq!(parse_split("nothing"), None);
    assert_eq!(parse_split("web-logs-x"), None);
}
