"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const narrow = window.matchMedia("(max-width: 720px)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false,
    plotlyServerURL: "",
    displayModeBar: narrow ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    doubleClick: "reset",
  };
  const axis = { gridcolor: "#e8ecf0", zerolinecolor: "#c5ccd3", linecolor: "#8c959f", ticks: "outside", tickcolor: "#8c959f", automargin: true };
  const base = {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: "#1b1f24" },
    margin: { l: 56, r: 12, t: 12, b: 44 },
    paper_bgcolor: "#ffffff",
    plot_bgcolor: "#ffffff",
    dragmode: narrow ? false : "zoom",
    hoverlabel: { bgcolor: "#ffffff", bordercolor: "#8c959f", align: "left" },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "bottom" },
    showlegend: false,
  };
  const colour = (state) => (state < 0 ? page.noState : page.palette[state % page.palette.length]);
  const stateName = (state) => (state < 0 ? "no state" : page.states[state]);
  const titled = (own) => ({ ...axis, ...own, title: { standoff: 8, ...own.title } });

  function draw(element, figure) {
    const layout = { ...base, ...figure.layout, xaxis: titled(figure.layout.xaxis), yaxis: titled(figure.layout.yaxis) };
    if (layout.showlegend) layout.margin = { ...base.margin, t: 30 };
    const data = narrow ? figure.data.map((trace) => (trace.type === "heatmap" ? { ...trace, showscale: false } : trace)) : figure.data;
    return Plotly.newPlot(element, data, layout, config);
  }

  function runsOf(path) {
    const runs = [];
    path.forEach((state, row) => {
      const last = runs[runs.length - 1];
      if (last && last.state === state) last.end = row + 1;
      else runs.push({ state, start: row, end: row + 1 });
    });
    return runs;
  }

  function bands(runs, time, end) {
    const edges = runs.map((run) => time[run.start]).concat(end);
    const n = page.states.length;
    const scale = [];
    for (let state = 0; state < n; state++) scale.push([state / n, colour(state)], [(state + 1) / n, colour(state)]);
    return {
      type: "heatmap", x: edges, y: [0, 1], z: [runs.map((run) => (run.state < 0 ? null : run.state))],
      zmin: -0.5, zmax: n - 0.5, colorscale: scale, showscale: false, opacity: 0.22, hoverinfo: "skip", zsmooth: false,
    };
  }

  function colouredLines(runs, time, values) {
    const lines = new Map();
    for (const run of runs) {
      if (!lines.has(run.state)) lines.set(run.state, { x: [], y: [] });
      const line = lines.get(run.state);
      for (let row = Math.max(run.start - 1, 0); row < run.end; row++) {
        line.x.push(time[row]);
        line.y.push(values[row]);
      }
      line.x.push(null);
      line.y.push(null);
    }
    return [...lines].map(([state, { x, y }]) => ({
      type: "scatter", mode: "lines", x, y, yaxis: "y2", line: { color: colour(state), width: 1.1 }, hoverinfo: "skip",
    }));
  }

  function readings(series, time, values, path, feature) {
    const said = path.map((state, row) => {
      const known = page.states.map((name, k) => [series.percent[k][row], name]).filter(([p]) => p !== null && p > 0);
      known.sort((a, b) => b[0] - a[0]);
      const value = values[row] === null ? "missing" : values[row];
      return `${feature.name} ${value}<br>${stateName(state)}<br>known then: ${known.slice(0, 4).map(([p, name]) => `${name} ${p} %`).join(", ") || "nothing"}`;
    });
    return {
      type: "scatter", mode: "lines", x: time, y: values, yaxis: "y2", text: said, line: { width: 0, color: "rgba(0,0,0,0)" },
      hovertemplate: "%{x}<br>%{text}<extra></extra>",
    };
  }

  function probabilities(series, time) {
    return page.states.map((name, state) => ({
      type: "scatter", mode: "lines", x: time, y: series.percent[state].map((p) => (p === null ? null : p / 100)),
      yaxis: "y3", stackgroup: "p", line: { width: 0, shape: "hv", color: colour(state) }, fillcolor: colour(state), hoverinfo: "skip",
    }));
  }

  function drawSeries() {
    const chosen = (id) => document.getElementById(id).value;
    const series = page.series[chosen("pick-series")];
    const feature = page.features[chosen("pick-value")];
    const path = series[chosen("pick-path")];
    const time = series.time.map((moment) => new Date(moment).toISOString());
    const end = new Date(series.time[series.time.length - 1] + series.step).toISOString();
    const values = series.values[feature.key];
    const runs = runsOf(path);
    const layout = {
      ...base,
      xaxis: titled({ title: { text: "time (UTC)" }, type: "date", range: [time[0], end], anchor: "y3", showgrid: false }),
      yaxis: { domain: [0.33, 1], range: [0, 1], visible: false, fixedrange: true },
      yaxis2: titled({ title: { text: `${feature.name} (${feature.unit})` }, overlaying: "y", anchor: "x", side: "left", tickmode: "auto", autorange: true, gridcolor: "rgba(140,149,159,.22)" }),
      yaxis3: titled({ title: { text: "probability" }, domain: [0, 0.24], range: [0, 1], tickvals: [0, 0.5, 1], fixedrange: true }),
    };
    const traces = [
      bands(runs, time, end), ...colouredLines(runs, time, values), readings(series, time, values, path, feature), ...probabilities(series, time),
    ];
    return Plotly.react("series-plot", traces, layout, config);
  }

  for (const id of ["pick-series", "pick-value", "pick-path"]) document.getElementById(id).addEventListener("change", drawSeries);
  const drawn = [...document.querySelectorAll("[data-figure]")].map((element) => draw(element, page.figures[element.dataset.figure]));
  Promise.all([drawSeries(), ...drawn]).then(() => { document.documentElement.dataset.drawn = String(drawn.length + 1); });
})();
