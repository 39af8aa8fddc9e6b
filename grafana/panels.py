"""What the dashboards are made of: panels with titles, descriptions, units and queries, laid out in
rows. The names are Grafana's own (https://grafana.com/docs/grafana/latest/dashboards/)."""

from itertools import count

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLOURS = {"info": "blue", "warning": "orange", "critical": "red"}

# What every query selects by; dashboards of one pipeline add that.
INSTANCES = 'job=~"$job", instance=~"$instance"'
PIPELINES = INSTANCES + ', pipeline=~"$pipeline"'


def query(expr, legend="", *, instant=False, table=False):
    """One query of a panel. `table`: its labels become columns."""
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "legendFormat": legend or "__auto",
        "instant": instant,
        "range": not instant,
        "format": "table" if table else "time_series",
    }


def panel(kind, title, description, unit, queries, *, w, h, defaults=None, overrides=None,
          options=None, transformations=None, repeat=None):
    """A panel that is `w` of 24 columns wide and `h` rows high."""
    made = {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": w, "h": h},
        "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": overrides or []},
        "options": options or {},
        "targets": [{**query, "refId": chr(ord("A") + n)} for n, query in enumerate(queries)],
    }
    if transformations:
        made["transformations"] = transformations
    if repeat:
        made |= {"repeat": repeat, "repeatDirection": "h", "maxPerRow": 2}
    return made


def lines(title, description, unit, *queries, w=12, h=8, stacked=False, bars=False, minimum=0,
          overrides=None, maximum=None, repeat=None):
    """Series over time."""
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineWidth": 1,
        "fillOpacity": 60 if bars else 25 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    defaults = {"custom": custom, "color": {"mode": "palette-classic"}}
    if minimum is not None:
        defaults["min"] = minimum
    if maximum is not None:
        defaults["max"] = maximum
    options = {
        "legend": {
            "displayMode": "table", "placement": "bottom", "showLegend": True,
            "calcs": ["lastNotNull", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, description, unit, queries, w=w, h=h, defaults=defaults,
                 overrides=overrides, options=options, repeat=repeat)


def stat(title, description, unit, expr, *, w=4, h=4, steps=None, legend=""):
    """One number. `steps`: (from this value on, colour), the first from None."""
    steps = steps or [(None, "text")]
    defaults = {
        "color": {"mode": "thresholds"},
        "thresholds": {
            "mode": "absolute", "steps": [{"value": v, "color": c} for v, c in steps],
        },
    }
    options = {
        "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel("stat", title, description, unit, [query(expr, legend)], w=w, h=h,
                 defaults=defaults, options=options)


def table(title, description, columns, queries, *, by, w=24, h=8, keep=(), sort=None):
    """Instant queries side by side, one row for each combination of the labels `by`. `columns`:
    the name and the unit of each query's value; `keep`: further labels to show."""
    shown = [*by, *keep]
    letters = [chr(ord("A") + n) for n in range(len(queries))]
    values = [f"Value #{letter}" for letter in letters] if len(queries) > 1 else ["Value"]
    overrides = [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "unit", "value": unit}],
        }
        for name, unit in columns
    ]
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "filterFieldsByName", "options": {"include": {"names": [*shown, *values]}}},
        {
            "id": "organize",
            "options": {
                "indexByName": {name: n for n, name in enumerate([*shown, *values])},
                "renameByName": dict(zip(values, [name for name, _ in columns])),
            },
        },
    ]
    options = {"showHeader": True, "cellHeight": "sm"}
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": True}]
    return panel("table", title, description, "short", [
        {**query, "instant": True, "range": False, "format": "table"} for query in queries
    ], w=w, h=h, defaults={"custom": {"align": "auto", "filterable": True}}, overrides=overrides,
        options=options, transformations=transformations)


def timeline(title, description, *queries, w=24, h=8, mappings=None):
    """States over time, one lane for each series."""
    defaults = {
        "color": {"mode": "thresholds"},
        "custom": {"fillOpacity": 80, "lineWidth": 0},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": None, "color": "transparent"}, {"value": 1, "color": "orange"}],
        },
    }
    if mappings:
        defaults["mappings"] = mappings
    options = {
        "mergeValues": True, "showValue": "never", "alignValue": "left", "rowHeight": 0.8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return panel("state-timeline", title, description, "short", queries, w=w, h=h,
                 defaults=defaults, options=options)


def heatmap(title, description, unit, expr, *, w=12, h=8):
    """A histogram over time; the query sums buckets by `le`."""
    made = panel("heatmap", title, description, "short", [query(expr, "{{le}}")], w=w, h=h, options={
        "calculate": False,
        "yAxis": {"unit": unit, "axisPlacement": "left"},
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "cellGap": 1,
        "filterValues": {"le": 1e-9},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": False},
        "legend": {"show": True},
    })
    made["targets"][0]["format"] = "heatmap"
    return made


def bars(title, description, unit, expr, legend, *, w=12, h=8):
    """The last value of each series as a bar, the longest first."""
    return panel("bargauge", title, description, unit, [query(expr, legend, instant=True)], w=w, h=h,
                 defaults={"color": {"mode": "continuous-BlPu"}, "min": 0}, options={
                     "displayMode": "gradient", "orientation": "horizontal", "showUnfilled": True,
                     "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                 })


def colour(name, value, *more):
    """An override: the series of that name has that colour."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [
            {"id": "color", "value": {"mode": "fixed", "fixedColor": value}},
            *({"id": id, "value": of} for id, of in more),
        ],
    }


def row(title, *panels, collapsed=False):
    """Panels under a heading."""
    return {"title": title, "panels": list(panels), "collapsed": collapsed}


def variable(name, label, source, *, many=True, regex=""):
    """A variable whose values are those of a label."""
    every = {"text": ["All"], "value": ["$__all"]}
    made = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": source,
        "query": {"qryType": 1, "query": source, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "sort": 1,
        "regex": regex,
        "multi": many,
        "includeAll": many,
        "options": [],
        "current": every if many else {},
    }
    if many:
        made["allValue"] = ".*"
    return made


def dashboard(uid, title, description, variables, rows, annotations=()):
    """Lays the rows out, numbers the panels, and adds what all dashboards have."""
    panels, numbers, y = [], count(1), 0
    for part in rows:
        heading = {
            "type": "row", "title": part["title"], "collapsed": part["collapsed"], "panels": [],
            "id": next(numbers), "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        }
        panels.append(heading)
        y += 1
        x, height = 0, 0
        for made in part["panels"]:
            w, h = made["gridPos"]["w"], made["gridPos"]["h"]
            if x + w > 24:
                x, y, height = 0, y + height, 0
            made = {**made, "id": next(numbers), "gridPos": {"x": x, "y": y, "w": w, "h": h}}
            (heading["panels"] if part["collapsed"] else panels).append(made)
            x, height = x + w, max(height, h)
        y += height
    datasource = {
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
        "refresh": 1, "regex": "", "multi": False, "includeAll": False, "options": [],
        "current": {},
    }
    marks = [
        {
            "name": name, "enable": True, "hide": False, "iconColor": shade,
            "datasource": DATASOURCE, "expr": expr, "step": "30s", "titleFormat": title_format,
            "textFormat": text, "useValueForTime": False,
        }
        for name, shade, expr, title_format, text in annotations
    ]
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["millpond"],
        "schemaVersion": 41,
        "version": 1,
        "id": None,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [datasource, *variables]},
        "annotations": {"list": [
            {
                "builtIn": 1, "type": "dashboard", "name": "Annotations & Alerts", "enable": True,
                "hide": True, "iconColor": "rgba(0, 211, 255, 1)",
                "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            },
            *marks,
        ]},
        "links": [{
            "type": "dashboards", "title": "Millpond", "tags": ["millpond"], "asDropdown": True,
            "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "external link",
            "tooltip": "", "url": "",
        }],
        "panels": panels,
    }


JOB = variable("job", "Job", "label_values(millpond_build_info, job)")
INSTANCE = variable("instance", "Instance", 'label_values(millpond_build_info{job=~"$job"}, instance)')
PIPELINE = variable(
    "pipeline", "Pipeline",
    'label_values(millpond_pipeline_ready{job=~"$job", instance=~"$instance"}, pipeline)')
