"""The dashboards. What each metric is: docs/METRICS.md; the series with colons are recorded by
prometheus/rules."""

from boards.anomalies import anomalies
from boards.fleet import fleet
from boards.lake import lake
from boards.pipeline import pipeline
from boards.weblogs import weblogs

ALL = [fleet(), pipeline(), lake(), anomalies(), weblogs()]
