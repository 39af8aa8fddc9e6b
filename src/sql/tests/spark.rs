//! Functions and operators against what Spark 4 answers outside ANSI mode, in UTC.

use super::*;

/// The value of an expression on one row: 2026-01-01T22:40:59.999999Z, 10.0.0.1, /b, 404, 5.0, 300.
fn value(expr: &str) -> String {
    let (value, _) = typed(expr);
    value
}

fn typed(expr: &str) -> (String, DataType) {
    let plan = planned(&format!("SELECT {expr} AS x FROM logs"));
    let row = few_rows().slice(2, 1);
    let output = run(&plan, &[row]);
    assert_eq!(output[0].schema(), plan.output_schema);
    let column = output[0].column(0);
    let value = arrow::util::display::array_value_to_string(column, 0).unwrap();
    let value = if column.is_null(0) { "NULL".to_owned() } else { value };
    (value, column.data_type().clone())
}

use arrow::array::Array;

#[test]
fn arithmetic_has_sparks_types_and_never_fails() {
    use DataType::{Float64, Int32, Int64};
    for (expr, expected, data_type) in [
        ("1", "1", Int32),
        ("3000000000", "3000000000", Int64),
        ("status_code + 1", "405", Int32),
        ("bytes + 1", "301", Int64),
        ("status_code / 100", "4.04", Float64),
        ("3 / 2", "1.5", Float64),
        ("status_code / 0", "NULL", Float64),
        ("response_time_ms / 0", "NULL", Float64),
        ("response_time_ms / (status_code - 404)", "NULL", Float64),
        ("status_code % 100", "4", Int32),
        ("status_code % 0", "NULL", Int32),
        ("response_time_ms % 0", "NULL", Float64),
        ("status_code DIV 100", "4", Int64),
        ("-7 DIV 2 + 1", "-2", Int64),
        ("10 DIV 0", "NULL", Int64),
        ("bytes DIV (bytes - 300)", "NULL", Int64),
        ("2147483647 + 1", "-2147483648", Int32),
        ("status_code * 2147483647", "-404", Int32),
        ("9223372036854775807 + 1", "-9223372036854775808", Int64),
        ("abs(-3)", "3", Int32),
        ("round(2.5)", "3.0", Float64),
        ("round(-2.5)", "-3.0", Float64),
        ("round(response_time_ms * 1.2345, 2)", "6.17", Float64),
        ("floor(4.9)", "4", Int64),
        ("ceil(4.1)", "5", Int64),
        ("ceiling(-4.1)", "-4", Int64),
        ("sqrt(16)", "4.0", Float64),
        ("pow(2, 10)", "1024.0", Float64),
        ("greatest(1, 3, 2)", "3", Int32),
        ("least(1, NULL, 2)", "1", Int32),
        ("pmod(-7, 3)", "2", Int32),
        ("'3' * 2", "6.0", Float64),
        ("'12' / '4'", "3.0", Float64),
    ] {
        assert_eq!(typed(expr), (expected.to_owned(), data_type), "{expr}");
    }
    assert_eq!(typed("price / 2").1, DataType::Decimal128(14, 6), "DECIMAL stays DECIMAL");
}

#[test]
fn casts_never_fail() {
    use DataType::{Boolean, Date32, Float64, Int32, Int64, Utf8};
    for (expr, expected, data_type) in [
        ("CAST('12' AS INT)", "12", Int32),
        ("CAST('x' AS INT)", "NULL", Int32),
        ("CAST(endpoint AS BIGINT)", "NULL", Int64),
        ("CAST(status_code AS STRING)", "404", Utf8),
        ("CAST(response_time_ms AS STRING)", "5.0", Utf8),
        ("CAST(status_code AS BOOLEAN)", "true", Boolean),
        ("CAST(timestamp AS STRING)", "2026-01-01 22:40:59.999999", Utf8),
        ("CAST(timestamp AS BIGINT)", "1767307259", Int64),
        ("CAST(timestamp AS DOUBLE)", "1767307259.999999", Float64),
        ("CAST(timestamp AS DATE)", "2026-01-01", Date32),
        ("CAST(to_date(timestamp) AS TIMESTAMP)", "2026-01-01T00:00:00Z", timestamp_type()),
        ("CAST('2026-01-02 03:04:05' AS TIMESTAMP)", "2026-01-02T03:04:05Z", timestamp_type()),
        ("CAST('nonsense' AS TIMESTAMP)", "NULL", timestamp_type()),
        ("CAST('2026-01-02' AS DATE)", "2026-01-02", Date32),
        ("CAST(1767307259 AS TIMESTAMP)", "2026-01-01T22:40:59Z", timestamp_type()),
        ("CAST(1.5 AS TIMESTAMP)", "1970-01-01T00:00:01.500Z", timestamp_type()),
        ("CAST(3.99 AS INT)", "3", Int32),
        ("CAST('1.25' AS DECIMAL(10, 2))", "1.25", DataType::Decimal128(10, 2)),
        ("TRY_CAST('x' AS DOUBLE)", "NULL", Float64),
        ("int('7')", "7", Int32),
        ("string(7)", "7", Utf8),
        ("date('2026-01-02')", "2026-01-02", Date32),
        ("status_code = '404'", "true", Boolean),
        ("timestamp > '2026-01-01 22:00:00'", "true", Boolean),
        ("timestamp >= TIMESTAMP '2026-01-01 22:00:00'", "true", Boolean),
        ("to_date(timestamp) = DATE '2026-01-01'", "true", Boolean),
    ] {
        assert_eq!(typed(expr), (expected.to_owned(), data_type), "{expr}");
    }
}

#[test]
fn times() {
    use DataType::{Date32, Int32, Int64, Utf8};
    for (expr, expected, data_type) in [
        ("date_format(timestamp, 'yyyy-MM-dd HH')", "2026-01-01 22", Utf8),
        ("date_format(to_date(timestamp), 'dd/MM/yy')", "01/01/26", Utf8),
        ("to_date(timestamp)", "2026-01-01", Date32),
        ("to_date('2026-03-04')", "2026-03-04", Date32),
        ("to_date('04.03.2026', 'dd.MM.yyyy')", "2026-03-04", Date32),
        ("year(timestamp)", "2026", Int32),
        ("quarter(timestamp)", "1", Int32),
        ("month(timestamp)", "1", Int32),
        ("day(timestamp)", "1", Int32),
        ("dayofmonth(timestamp)", "1", Int32),
        ("dayofweek(timestamp)", "5", Int32),
        ("weekday(timestamp)", "3", Int32),
        ("dayofyear(timestamp)", "1", Int32),
        ("weekofyear(timestamp)", "1", Int32),
        ("hour(timestamp)", "22", Int32),
        ("minute(timestamp)", "40", Int32),
        ("second(timestamp)", "59", Int32),
        ("hour('2026-01-01 07:00:00')", "7", Int32),
        ("EXTRACT(HOUR FROM timestamp)", "22", Int32),
        ("date_trunc('minute', timestamp)", "2026-01-01T22:40:00Z", timestamp_type()),
        ("date_trunc('HOUR', timestamp)", "2026-01-01T22:00:00Z", timestamp_type()),
        ("date_trunc('week', timestamp)", "2025-12-29T00:00:00Z", timestamp_type()),
        ("date_trunc('year', timestamp)", "2026-01-01T00:00:00Z", timestamp_type()),
        ("unix_timestamp(timestamp)", "1767307259", Int64),
        ("unix_timestamp('2026-01-01', 'yyyy-MM-dd')", "1767225600", Int64),
        ("from_unixtime(0)", "1970-01-01 00:00:00", Utf8),
        ("from_unixtime(1767307259, 'HH:mm')", "22:40", Utf8),
        ("to_timestamp('2026-01-01T22:40:59Z')", "2026-01-01T22:40:59Z", timestamp_type()),
        ("to_timestamp('01/02/2026', 'dd/MM/yyyy')", "2026-02-01T00:00:00Z", timestamp_type()),
        ("to_timestamp('no time')", "NULL", timestamp_type()),
        ("timestamp_millis(1500)", "1970-01-01T00:00:01.500Z", timestamp_type()),
        ("timestamp + INTERVAL 1 MINUTE", "2026-01-01T22:41:59.999999Z", timestamp_type()),
        ("timestamp - INTERVAL '2' HOUR", "2026-01-01T20:40:59.999999Z", timestamp_type()),
        ("timestamp - INTERVAL '1 day'", "2025-12-31T22:40:59.999999Z", timestamp_type()),
        ("date_add(to_date(timestamp), 3)", "2026-01-04", Date32),
        ("date_sub(to_date(timestamp), 1)", "2025-12-31", Date32),
        ("datediff(DATE '2026-01-10', to_date(timestamp))", "9", Int32),
        ("last_day(to_date(timestamp))", "2026-01-31", Date32),
        ("trunc(to_date(timestamp), 'year')", "2026-01-01", Date32),
        ("next_day(to_date(timestamp), 'monday')", "2026-01-05", Date32),
        ("add_months(to_date(timestamp), 1)", "2026-02-01", Date32),
        ("window(timestamp, '10 seconds').start", "2026-01-01T22:40:50Z", timestamp_type()),
        ("unix_millis(timestamp)", "1767307259999", Int64),
    ] {
        assert_eq!(typed(expr), (expected.to_owned(), data_type), "{expr}");
    }
    let now = value("unix_timestamp(current_timestamp())").parse::<i64>().unwrap();
    assert!((now - chrono::Utc::now().timestamp()).abs() < 100, "{now}");
    assert_eq!(value("current_timestamp() = now()"), "true");
    assert_eq!(value("current_date() = to_date(now())"), "true");
}

#[test]
fn texts() {
    for (expr, expected) in [
        ("concat(method, ' ', endpoint)", "GET /b"),
        ("concat(method, user_agent)", "NULL"),
        ("concat_ws('-', method, user_agent, endpoint)", "GET-/b"),
        ("method || endpoint", "GET/b"),
        ("lower(method)", "get"),
        ("ucase('a')", "A"),
        ("substring(method, 2, 2)", "ET"),
        ("substring(method, -2)", "ET"),
        ("substr(method, 0, 2)", "GE"),
        ("substring_index('a.b.c', '.', 2)", "a.b"),
        ("left(method, 1)", "G"),
        ("right(method, 1)", "T"),
        ("length(method)", "3"),
        ("trim('  a ')", "a"),
        ("lpad('7', 3, '0')", "007"),
        ("replace(ip, '.', '-')", "10-0-0-1"),
        ("reverse(method)", "TEG"),
        ("initcap('hello world')", "Hello World"),
        ("instr(method, 'E')", "2"),
        ("locate('E', method)", "2"),
        ("split(ip, '\\\\.')[0]", "10"),
        ("split(ip, '[.]')[3]", "1"),
        ("split(ip, '[.]')[4]", "NULL"),
        ("split(ip, '[.]')[-1]", "NULL"),
        ("element_at(split(ip, '[.]'), -1)", "1"),
        ("size(split(ip, '[.]'))", "4"),
        ("regexp_extract(ip, '(\\\\d+)\\\\.(\\\\d+)', 2)", "0"),
        ("regexp_extract(ip, '(\\\\d+)')", "10"),
        ("regexp_extract(method, '(\\\\d+)', 1)", ""),
        ("regexp_replace(ip, '(\\\\d+)$', '<$1>')", "10.0.0.<1>"),
        ("method LIKE 'G%'", "true"),
        ("method RLIKE '^G.T$'", "true"),
        ("method ILIKE 'g_t'", "true"),
        ("method NOT LIKE 'G%'", "false"),
        ("method IN ('GET', 'HEAD')", "true"),
        ("status_code BETWEEN 400 AND 499", "true"),
        ("coalesce(user_agent, 'none')", "none"),
        ("nvl(user_agent, 'none')", "none"),
        ("ifnull(user_agent, 'none')", "none"),
        ("nvl2(user_agent, 'a', 'b')", "b"),
        ("if(status_code >= 400, 'bad', 'good')", "bad"),
        ("nullif(method, 'GET')", "NULL"),
        ("isnull(user_agent)", "true"),
        ("user_agent IS NOT NULL", "false"),
        ("user_agent <=> NULL", "true"),
        ("NOT (status_code = 404)", "false"),
        ("!(status_code == 404)", "false"),
        ("CASE status_code WHEN 404 THEN 'missing' ELSE 'other' END", "missing"),
        ("concat(status_code DIV 100, 'xx')", "4xx"),
        ("\"double quoted\"", "double quoted"),
        ("'it''s'", "it's"),
        ("md5('a')", "0cc175b9c0f1b6a831c399e269772661"),
        ("sha2('a', 256)", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        ("startswith(method, 'G')", "true"),
        ("endswith(method, 'T')", "true"),
        ("contains(method, 'E')", "true"),
        ("format_string('%s=%d', method, status_code)", "GET=404"),
        ("repeat('ab', 2)", "abab"),
        ("ascii('A')", "65"),
        ("translate('abc', 'b', 'x')", "axc"),
        ("array_contains(array('a', 'b'), 'a')", "true"),
        ("array('a', 'b')[1]", "b"),
        ("named_struct('a', 1).a", "1"),
        ("user.id", "NULL"),
        ("user['id']", "NULL"),
        ("map('a', 1, 'b', 2)['b']", "2"),
        ("element_at(map('a', 1, 'b', 2), 'b')", "2"),
        ("element_at(map('a', 1, 'b', 2), 'c')", "NULL"),
        ("element_at(array(1, 2), 1)", "1"),
        ("USER.DeviceID", "NULL"),
        ("base64('a')", "YQ=="),
        ("hex(255)", "FF"),
    ] {
        assert_eq!(value(expr), expected, "{expr}");
    }
}

#[test]
fn json_in_text() {
    for (expr, expected) in [
        ("from_json('{\"a\": 1, \"b\": \"x\"}', 'a INT, b STRING')", "{a: 1, b: x}"),
        ("from_json('{\"a\": 1, \"b\": {\"c\": [1,2]}}', 'b STRUCT<c: ARRAY<INT>>').b.c[1]", "2"),
        // A field of the wrong type is NULL, the others stay; what is no JSON has none.
        ("from_json('{\"a\": \"no\", \"b\": \"x\"}', 'a INT, b STRING')", "{a: , b: x}"),
        ("from_json('{nonsense', 'a INT')", "{a: }"),
        ("from_json('[1, 2]', 'ARRAY<INT>')", "[1, 2]"),
        ("from_json('1}, {\"value\": [2]', 'ARRAY<INT>')", "NULL"),
        ("from_json('{\"k\": 1}', 'MAP<STRING, INT>')['k']", "1"),
        ("from_json(user_agent, 'a INT')", "NULL"),
        ("from_json('{\"t\": \"2026-01-01T00:00:00Z\"}', 't TIMESTAMP').t", "2026-01-01T00:00:00Z"),
        (
            "to_json(named_struct('a', 1, 'b', user_agent, 'c', array('x')))",
            "{\"a\":1,\"c\":[\"x\"]}",
        ),
        ("to_json(array(1, 2))", "[1,2]"),
        ("to_json(map('k', status_code))", "{\"k\":404}"),
        ("to_json(struct(status_code, ip))", "{\"status_code\":404,\"ip\":\"10.0.0.1\"}"),
        ("get_json_object('{\"a\": {\"b\": [1, {\"c\": \"x\"}]}}', '$.a.b[1].c')", "x"),
        ("get_json_object('{\"a\": [1, 2]}', '$.a')", "[1,2]"),
        ("get_json_object('{\"a\": [{\"b\": 1}, {\"b\": 2}]}', '$.a[*].b')", "[1,2]"),
        ("get_json_object('{\"a\": null}', '$.a')", "NULL"),
        ("get_json_object('nonsense', '$.a')", "NULL"),
        ("get_json_object('{\"a\": 1.5}', '$.a')", "1.5"),
    ] {
        assert_eq!(value(expr), expected, "{expr}");
    }
    let plan = planned(
        "SELECT data.* FROM (SELECT from_json(ip, 'userId INT, b STRING') AS data FROM logs)",
    );
    let names: Vec<&str> = plan.output_schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["userId", "b"]);
    let plan =
        planned("SELECT data.USERID FROM (SELECT from_json(ip, 'userId INT') AS data FROM logs)");
    assert_eq!(plan.output_schema.field(0).data_type(), &DataType::Int32);
    for (sql, part) in [
        ("SELECT from_json(ip, method) AS x FROM logs", "must be a constant"),
        ("SELECT from_json(ip, 'a NONSENSE') AS x FROM logs", "not a schema"),
        ("SELECT from_json(ip, 'INT') AS x FROM logs", "must be a STRUCT, ARRAY or MAP"),
        ("SELECT to_json(ip) AS x FROM logs", "named_struct"),
        ("SELECT get_json_object(ip, 'a.b') AS x FROM logs", "not a path"),
    ] {
        let error = refused(sql);
        assert!(error.to_string().contains(part), "{sql}\n{error}");
        assert_eq!(error.location.map(|(line, _)| line), Some(1), "{error}");
    }
}

#[test]
fn arrays_and_maps() {
    for (expr, expected) in [
        ("sort_array(array(2, NULL, 1))", "[, 1, 2]"),
        ("sort_array(array(2, NULL, 1), false)", "[2, 1, ]"),
        ("array_sort(array(2, NULL, 1))", "[1, 2, ]"),
        ("transform(split(ip, '[.]'), x -> concat(x, '!'))", "[10!, 0!, 0!, 1!]"),
        ("filter(split(ip, '[.]'), x -> x <> '0')", "[10, 1]"),
        ("map_entries(map('a', 1))", "[{key: a, value: 1}]"),
        ("array_join(array('a', 'b'), '-')", "a-b"),
        ("array_distinct(array(1, 1, 2))", "[1, 2]"),
        ("arrays_overlap(array(1, 2), array(2, 3))", "true"),
        ("array_max(array(1, 3, 2))", "3"),
        ("array_min(array(1, 3, 2))", "1"),
        ("array_position(array('a', 'b'), 'b')", "2"),
        ("slice(array(1, 2, 3), 2, 2)", "[2, 3]"),
        ("flatten(array(array(1), array(2, 3)))", "[1, 2, 3]"),
        ("array_remove(array(1, 2, 1), 1)", "[2]"),
        ("array_repeat('a', 2)", "[a, a]"),
        ("array_union(array(1, 2), array(2, 3))", "[1, 2, 3]"),
        ("array_except(array(1, 2), array(2))", "[1]"),
        ("map_keys(map('a', 1))", "[a]"),
        ("map_values(map('a', 1))", "[1]"),
        ("map_contains_key(map('a', 1), 'a')", "true"),
        ("size(map('a', 1, 'b', 2))", "2"),
        ("cardinality(array(1, 2))", "2"),
        ("str_to_map('a:1,b:2')['b']", "2"),
        ("equal_null(user_agent, NULL)", "true"),
        ("sign(-2.5)", "-1.0"),
        ("crc32('a')", "3904355907"),
        ("sha('a')", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
        ("sha1('a')", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
        ("char_length('abc')", "3"),
        ("to_unix_timestamp(timestamp)", "1767307259"),
        ("unbase64('YQ==') = CAST('a' AS BINARY)", "true"),
        ("rpad('7', 3, '0')", "700"),
        ("ltrim('  a')", "a"),
        ("split_part('a.b', '.', 2)", "b"),
    ] {
        assert_eq!(value(expr), expected, "{expr}");
    }
}

#[test]
fn names_ignore_case_and_keep_their_spelling() {
    let plan = planned(
        "SELECT DeviceId, `Endpoint`, LOGS.IP, t.Bytes AS B FROM Logs AS t"
            .replace("LOGS.", "T.")
            .as_str(),
    );
    let names: Vec<&str> =
        plan.output_schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["DeviceId", "Endpoint", "IP", "B"]);
    assert_eq!(plan.reads("logs"), [1, 3, 6, 8].into());
    let plan = planned("SELECT * EXCEPT (IP, user) FROM logs");
    assert_eq!(plan.output_schema.fields().len(), 10);
    assert!(!plan.reads("logs").contains(&1));
}

#[test]
fn subqueries_in_from_are_one_chain() {
    assert_eq!(
        table(
            "WITH errors AS (SELECT timestamp AS ts, endpoint AS e, status_code FROM logs \
             WHERE status_code >= 500) \
             SELECT w.start AS start, e, n FROM (SELECT window(ts, '1 minute') AS w, e, \
             count(*) AS n FROM errors GROUP BY w, e) WHERE n > 0"
        ),
        ["2026-01-01T22:40:00Z|/a|1", "2026-01-01T22:41:00Z|/a|1"]
    );
}
