//! Quality rules on a query's output.

use arrow::array::AsArray;

use super::*;
use crate::sql::{BoundExpectations, OnViolation};

const SALES: &str = "SELECT ip AS id, bytes AS price, endpoint AS country FROM logs";

fn with_rules(rules: &[(&str, &str, OnViolation)]) -> QueryPlan {
    let mut plan = planned(SALES);
    for (name, that, on_violation) in rules {
        let rule = plan.plan_expectation(name, that, *on_violation);
        plan.expectations.push(rule.unwrap_or_else(|error| panic!("{that}\n{error}")));
    }
    plan
}

fn sales(rows: &[(Option<&str>, Option<i64>, Option<&str>)]) -> RecordBatch {
    let ids: StringArray = rows.iter().map(|row| row.0).collect();
    let prices: arrow::array::Int64Array = rows.iter().map(|row| row.1).collect();
    let countries: StringArray = rows.iter().map(|row| row.2).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(prices), Arc::new(countries)];
    RecordBatch::try_new(planned(SALES).output_schema, columns).unwrap()
}

fn ids(rows: &RecordBatch) -> Vec<Option<&str>> {
    rows.column(0).as_string::<i32>().iter().collect()
}

fn check(rules: &[(&str, &str, OnViolation)], rows: &RecordBatch) -> crate::sql::Checked {
    let mut bound = BoundExpectations::new(&with_rules(rules)).unwrap().unwrap();
    let places = (0..rows.num_rows() as u32).map(|row| row + 100).collect();
    bound.check(rows, Some(places)).unwrap()
}

#[test]
fn null_violates_as_false_does() {
    let rows = sales(&[
        (Some("a"), Some(1), None),
        (Some("b"), Some(0), None),
        (Some("c"), None, None),
        (Some("d"), Some(9), None),
    ]);
    let checked = check(&[("valid_price", "price > 0", OnViolation::Drop)], &rows);
    assert_eq!(ids(&checked.rows), [Some("a"), Some("d")]);
    assert_eq!(checked.places.unwrap().values(), &[100, 103]);
    assert_eq!((checked.tallies[0].passed, checked.tallies[0].violated), (2, 2));
    assert!(checked.rejected.is_none() && checked.violation.is_none());
    let lenient = check(&[("p", "price > 0 OR price IS NULL", OnViolation::Drop)], &rows);
    assert_eq!(ids(&lenient.rows), [Some("a"), Some("c"), Some("d")]);
}

#[test]
fn each_rule_counts_for_itself_and_the_dead_letters_win_over_dropping() {
    let rows = sales(&[
        (Some("fine"), Some(1), Some("FR")),
        (Some("free"), Some(0), Some("FR")),
        (Some("nowhere"), Some(1), None),
        (Some("both"), Some(-1), None),
        (None, Some(5), Some("DE")),
    ]);
    let rules = [
        ("has_id", "id IS NOT NULL", OnViolation::Warn),
        ("paid", "price > 0", OnViolation::Drop),
        ("somewhere", "country IS NOT NULL", OnViolation::DeadLetter),
    ];
    let checked = check(&rules, &rows);
    let violated: Vec<u64> = checked.tallies.iter().map(|tally| tally.violated).collect();
    assert_eq!(violated, [1, 2, 2]);
    assert_eq!(ids(&checked.rows), [Some("fine"), None]);
    let rejected = checked.rejected.unwrap();
    assert_eq!(ids(&rejected.rows), [Some("nowhere"), Some("both")]);
    assert_eq!(rejected.rules.iter().map(|rule| &**rule).collect::<Vec<_>>(), ["somewhere"; 2]);
    assert_eq!(
        rejected.errors[1],
        "the row violates paid: price > 0; somewhere: country IS NOT NULL"
    );
    assert_eq!(rejected.places.unwrap().values(), &[102, 103]);
}

#[test]
fn a_rule_that_fails_names_the_first_row() {
    let rows = sales(&[(Some("a"), Some(1), None), (Some("b"), Some(-2), Some("X"))]);
    let checked = check(&[("paid", "price > 0", OnViolation::Fail)], &rows);
    let violation = checked.violation.unwrap();
    assert_eq!((&*violation.rule, violation.rows), ("paid", 1));
    assert_eq!(violation.first, r#"{"id":"b","price":-2,"country":"X"}"#);
}

#[test]
fn conditions_are_spark_sql_and_errors_have_their_place() {
    let plan = planned(SALES);
    let refused = |that: &str| plan.plan_expectation("r", that, OnViolation::Warn).unwrap_err();
    for fine in [
        "country RLIKE '^[A-Z]{2}$' -- two letters",
        "id LIKE 'C%' OR price BETWEEN 1 AND 5",
        "length(country) = 2\n  AND price % 2 = 0",
        "coalesce(price, 0) >= 0",
    ] {
        plan.plan_expectation("r", fine, OnViolation::Warn)
            .unwrap_or_else(|error| panic!("{fine}\n{error}"));
    }
    let unknown = refused("price > 0\n AND  contry = 'FR'");
    assert_eq!(unknown.location, Some((2, 7)), "{unknown}");
    assert!(unknown.to_string().contains("did you mean 'country'?"), "{unknown}");
    assert!(refused("price + 1").message.contains("this gives BIGINT"));
    refused("sum(price) > 0");
    refused("explode(array(true))");
    let two = refused("price > 0, id = 'a'");
    assert!(two.message.contains("one condition"), "{two:?}");
    assert_eq!(two.location, Some((1, 10)));
    assert_eq!(refused("price >").location, Some((1, 8)));
    assert!(refused("  ").message.contains("empty"));
    for wrong in ["price > 0) AS x, (1 = 1", "id IN (SELECT id FROM logs)"] {
        refused(wrong);
    }
}

#[test]
fn rows_in_filters_and_lists_keep_their_places() {
    let sql = "SELECT explode(tags) AS tag, bytes FROM logs WHERE bytes > 1";
    let plan = planned(sql);
    let schema = logs_schema();
    let mut tags = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for row in [&["a", "b"][..], &["c"], &[], &["d", "e"]] {
        row.iter().for_each(|tag| tags.values().append_value(tag));
        tags.append(true);
    }
    let tags: ArrayRef = Arc::new(tags.finish());
    let bytes: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![2, 1, 3, 4]));
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "tags" => arrow::compute::cast(&tags, field.data_type()).unwrap(),
        "bytes" => bytes.clone(),
        "timestamp" => batch_times(4),
        _ => arrow::array::new_null_array(field.data_type(), 4),
    });
    let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
    let mut map = plan.feeds[0].bind("q", &schema).unwrap();
    let (rows, places) = map.apply_traced(&batch, Some((0..4).collect())).unwrap();
    assert_eq!(rows.num_rows(), 4);
    assert_eq!(places.unwrap().values(), &[0, 0, 3, 3]);
    assert_eq!(map.apply(&batch).unwrap(), rows);
}

fn batch_times(count: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_value(0, count).with_timezone("UTC"))
}
