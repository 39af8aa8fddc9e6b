//! Plans in words.

use super::world::{Extra, World, mode};
use crate::sql::{OutputMode, explain};

#[test]
fn a_windowed_query() {
    let world = World::usual().query(
        "alerts",
        "SELECT window.start AS minute, user, count(*) AS n, sum(CASE WHEN ad > 5 THEN 1 ELSE 0 END) \
         AS big FROM clicks WHERE user <> 'bot' GROUP BY window(ts, '1 minute'), user HAVING n > 3",
    );
    let text = explain(world.plan("alerts")).to_string();
    assert_eq!(
        text,
        "query alerts (append mode)
  output     minute TIMESTAMP, user STRING, n BIGINT, big BIGINT
  select     window.start AS minute, user, count(*) AS n, \
         sum(CAST(CASE WHEN ad > 5 THEN 1 ELSE 0 END AS BIGINT)) AS big
  filter     count(*) > 3
  <- aggregate [alerts]
     window     window(ts, '1 minute')
     keys       user
     computes   count(*), sum(CAST(CASE WHEN ad > 5 THEN 1 ELSE 0 END AS BIGINT))
     state      the groups of open windows; a window is dropped when the watermark passes its end
     filter     user <> 'bot'
     <- source clicks
        decodes    ts, user, ad
"
        .replace("\n         sum", " sum"),
        "{text}"
    );
}

#[test]
fn joins_unions_tables_and_sorting() {
    let world = World::usual()
        .query("early", "SELECT ts, user, ad FROM clicks")
        .query(
            "q",
            "SELECT a.user, country FROM early a JOIN impressions b ON a.ad = b.ad AND b.ts BETWEEN \
             a.ts AND a.ts + INTERVAL 1 HOUR LEFT JOIN users u ON a.user = u.user",
        )
        .query(
            "u",
            "SELECT user AS x FROM clicks UNION ALL SELECT explode(tags) FROM words",
        )
        .query_with(
            "top",
            "SELECT user, count(*) AS n FROM clicks GROUP BY user ORDER BY n DESC LIMIT 3",
            mode(OutputMode::Complete),
        )
        .query_with(
            "once",
            "SELECT DISTINCT user FROM clicks",
            Extra { ttl: Some(60), ..Extra::default() },
        );
    let text = |name: &str| explain(world.plan(name)).to_string();
    for (name, parts) in [
        (
            "q",
            vec![
                "lookup     left join with table users on user = users.user",
                "<- inner join [q]",
                "keys       ad = ad",
                "left rows until the watermark passes ts and 1 hour more; right rows until the \
                 watermark passes ts\n",
                "<- query early",
                "<- source impressions",
            ],
        ),
        ("u", vec!["select     user AS x", "explode    explode(tags)", "decodes    tags"]),
        (
            "top",
            vec![
                "order by   count(*) DESC",
                "limit      3",
                "every group, for ever: complete mode",
            ],
        ),
        ("once", vec!["<- drop duplicates [once]", "each key for 1 minute after it came"]),
    ] {
        for part in parts {
            let text = text(name);
            assert!(text.contains(part), "{text}\nlacks {part}");
        }
    }
    let json = serde_json::to_value(explain(world.plan("q"))).unwrap();
    assert_eq!(json["inputs"][0]["from"]["kind"], "operator");
    assert_eq!(json["inputs"][0]["from"]["inputs"][1][0]["from"]["name"], "impressions");
}
