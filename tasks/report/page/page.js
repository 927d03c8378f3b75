"use strict";
(() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const tint = (of) => (typeof of === "number" ? colour(of) : css(`--${of}`));
  const colour = (state) => (state < 0 ? page.noState : page.palette[state % page.palette.length]);
  const stateName = (state) => (state < 0 ? "no state" : page.states[state]);
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC");
  const charts = [];

  const axis = (label, more = {}) => ({
    label, font, labelFont: font, labelSize: 18, labelGap: 0, size: 28, gap: 4,
    stroke: () => css("--quiet"), grid: { stroke: () => css("--grid"), width: 1 }, ticks: { stroke: () => css("--grid"), width: 1, size: 5 }, ...more,
  });
  const figures = (values) => values.map((value) => (value === null ? "" : String(+value.toPrecision(12)).replace("-", "−")));
  const widest = (self, values, index, cycle) =>
    cycle > 1 ? self.axes[index]._size : 20 + 7 * Math.max(3, ...(values || []).map((text) => text.length));
  const upright = (label, more) => axis(label, { size: widest, values: (self, splits) => figures(splits), ...more });

  function chart(element, options, data) {
    const height = parseFloat(getComputedStyle(element).getPropertyValue("--high"));
    const made = new uPlot({ ...options, width: Math.max(element.clientWidth, 120), height }, data, element);
    element.chart = made;
    charts.push(made);
    new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width && width !== made.width) made.setSize({ width, height: made.height });
    }).observe(element);
    return made;
  }

  function looked({ name, tint: of, look, width }) {
    const drawn = { label: name, class: look, stroke: () => tint(of), width, points: { show: false }, value: (self, value) => (value === null || value === undefined ? "–" : figures([value])[0]) };
    if (look === "steps") drawn.paths = uPlot.paths.stepped({ align: -1 });
    if (look === "points") Object.assign(drawn, { paths: () => null, points: { show: true, size: 5, fill: () => tint(of), stroke: () => tint(of) } });
    if (look === "barred") drawn.paths = () => null;
    if (look === "edge") Object.assign(drawn, { stroke: "transparent", width: 0 });
    return drawn;
  }

  const apart = (own, place, ratio) => (place - (own.length - 1) / 2) * 9 * ratio;

  function barred(figure) {
    const own = figure.lines.flatMap((line, place) => (line.look === "edge" ? [] : [{ line, place }]));
    const bars = new Map(figure.bands.map(([upper, lower]) => [upper - 1, [figure.lines[upper].y, figure.lines[lower].y]]));
    return (self) => {
      const { ctx } = self, ratio = devicePixelRatio;
      const high = (value) => self.valToPos(value, "y", true);
      ctx.save();
      ctx.lineWidth = 1.5 * ratio;
      own.forEach(({ line, place }, among) => {
        ctx.strokeStyle = ctx.fillStyle = tint(line.tint);
        figure.x.forEach((x, row) => {
          if (line.y[row] === null) return;
          const at = self.valToPos(x, "x", true) + apart(own, among, ratio);
          ctx.beginPath();
          ctx.arc(at, high(line.y[row]), 3 * ratio, 0, 2 * Math.PI);
          ctx.fill();
          const [upper, lower] = bars.get(place) ?? [];
          if (!upper || upper[row] === null) return;
          ctx.beginPath();
          ctx.moveTo(at, high(upper[row]));
          ctx.lineTo(at, high(lower[row]));
          ctx.stroke();
        });
      });
      ctx.restore();
    };
  }

  function named(figure) {
    const most = Math.max(...figure.levels.map((name) => name.length));
    const each = (self) => Math.ceil((figure.levels.length * (7 * most + 8)) / Math.max(self.bbox.width / devicePixelRatio, 1));
    return { splits: () => figure.x, values: (self) => figure.levels.map((name, row) => (row % each(self) ? "" : name)), grid: { show: false } };
  }

  function draw(element) {
    const figure = page.figures[element.dataset.figure];
    const range = (limits) => (limits ? { range: limits } : {});
    const { levels } = figure;
    const beside = levels ? [-0.5, levels.length - 0.5] : figure.xRange;
    const low = figure.yRange ? {} : { range: (self, least, most) => uPlot.rangeNum(least ?? 0, most ?? 1, 0.08, true) };
    return chart(element, {
      scales: { x: { time: false, ...range(beside) }, y: { ...low, ...range(figure.yRange) } },
      axes: [axis(figure.titles[0], levels ? named(figure) : { values: (self, splits) => figures(splits) }), upright(figure.titles[1])],
      series: [{ label: figure.titles[0].split(" ")[0].replace(",", ""), value: (self, value) => (value === null ? "–" : levels?.[value] ?? figures([value])[0]) }, ...figure.lines.map((line) => looked(levels && line.look === "line" ? { ...line, look: "barred" } : line))],
      hooks: levels ? { draw: [barred(figure)] } : {},
      bands: levels ? [] : figure.bands.map(([upper, lower]) => ({ series: [upper + 1, lower + 1], fill: () => css("--band") })),
      legend: { show: true, live: true },
      cursor: { y: false, drag: { x: false, y: false } },
    }, [figure.x, ...figure.lines.map((line) => line.y)]);
  }

  function unpacked(series) {
    if (series.seconds) return series;
    const along = (stretches) => {
      const path = [];
      for (let i = 0; i < stretches.length; i += 2) for (let n = 0; n < stretches[i + 1]; n++) path.push(stretches[i]);
      return path;
    };
    let at = series.start / 1e3;
    series.seconds = [at, ...series.gaps.map((gap) => (at += (gap * series.unit) / 1e3))];
    series.paths = { viterbi: along(series.viterbi), state: along(series.state) };
    series.inSample = along(series.seen);
    return series;
  }

  const written = (seconds) => {
    if (page.counted) return `step ${seconds}`;
    const text = new Date(seconds * 1e3).toISOString();
    return text.slice(11, 19) === "00:00:00" ? text.slice(0, 10) : text.slice(0, 16).replace("T", " ");
  };
  const chosen = (id) => document.getElementById(id).value;
  const said = document.getElementById("series-said");
  let shown = null;

  function bands(self) {
    const { ctx, bbox } = self;
    const { seconds, step } = shown.series;
    const place = (row) => self.valToPos(row < seconds.length ? seconds[row] : seconds[seconds.length - 1] + step / 1e3, "x", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.globalAlpha = Number(css("--wash"));
    for (let row = 0, end; row < seconds.length; row = end) {
      for (end = row + 1; end < seconds.length && shown.path[end] === shown.path[row]; end++);
      ctx.fillStyle = colour(shown.path[row]);
      if (shown.path[row] >= 0) ctx.fillRect(place(row), bbox.top, place(end) - place(row), bbox.height);
    }
    ctx.globalAlpha = 1;
    ctx.fillStyle = css("--quiet");
    const thick = 4 * devicePixelRatio, { inSample } = shown.series;
    for (let row = 0, end; row < seconds.length; row = end) {
      for (end = row + 1; end < seconds.length && inSample[end] === inSample[row]; end++);
      if (inSample[row]) ctx.fillRect(place(row), bbox.top + bbox.height - thick, place(end) - place(row), thick);
    }
    ctx.restore();
  }

  function byState(values, path) {
    return page.states.concat("none").map((_, state) => {
      const own = state < page.states.length ? state : -1;
      return values.map((value, row) => (path[row] === own || path[row + 1] === own ? value : null));
    });
  }

  function stacked(series) {
    const total = series.seconds.map(() => 0);
    return page.states.map((_, state) => series.percent[state].map((p, row) => (p === null ? null : (total[row] += p) / 100)));
  }

  function read(self) {
    const row = self.cursor.idx;
    if (row === null || row === undefined || !shown) return;
    const { series, feature, path } = shown;
    const known = page.states.map((name, state) => [series.percent[state][row], name]).filter(([p]) => p > 0).sort((a, b) => b[0] - a[0]);
    const value = series.values[feature.key][row];
    said.textContent = `${written(series.seconds[row])}: ${feature.name} ${value === null ? "missing" : value} · ${stateName(path[row])} · ` +
      `known then: ${known.slice(0, 4).map(([p, name]) => `${name} ${p} %`).join(", ") || "nothing"} · ${series.inSample[row] ? "in sample" : "out of sample"}`;
  }

  function drawSeries() {
    const series = unpacked(page.series[chosen("pick-series")]);
    const feature = page.features[chosen("pick-value")];
    const path = series.paths[chosen("pick-path")];
    const values = series.values[feature.key];
    const { seconds } = series;
    const last = seconds[seconds.length - 1] + series.step / 1e3;
    const from = last - (last - seconds[0]) / Number(chosen("pick-span"));
    shown = { series, feature, path };
    for (const id of ["series-plot", "known-plot"]) {
      const element = document.getElementById(id);
      if (!element.chart) continue;
      charts.splice(charts.indexOf(element.chart), 1);
      element.chart.destroy();
      element.chart = null;
      element.replaceChildren();
    }
    const time = { time: !page.counted, range: (self, least, most) => (least === seconds[0] && most === seconds[seconds.length - 1] ? [from, last] : [least, most]) };
    const cursor = { y: false, sync: { key: "series", setSeries: false, scales: ["x", null] }, drag: { x: true, y: false } };
    const known = values.filter((value) => value !== null);
    const positive = feature.level && Math.min(...known) > 0 && Math.max(...known) > 8 * Math.min(...known);
    const along = (label, more) => axis(label, page.counted ? { values: (self, splits) => figures(splits), ...more } : more);
    const line = (state) => ({ label: stateName(state), stroke: colour(state), width: 1.2, points: { show: false } });
    const states = page.states.map((_, state) => state);
    chart(document.getElementById("series-plot"), {
      tzDate: utc, cursor, legend: { show: false }, hooks: { drawClear: [bands], setCursor: [read] },
      scales: { x: time, y: positive ? { distr: 3 } : {} },
      axes: [along("", { label: undefined, size: 24 }), upright(`${feature.name} (${feature.unit}${positive ? ", log scale" : ""})`)],
      series: [{}, ...states.map(line), line(-1)],
    }, [seconds, ...byState(values, path)]);
    const sums = stacked(series);
    chart(document.getElementById("known-plot"), {
      tzDate: utc, cursor, legend: { show: false }, hooks: { setCursor: [read] },
      scales: { x: time, y: { range: [0, 1] } },
      axes: [page.counted ? along("step") : along("time (UTC)", { size: 46 }), upright("probability", { splits: () => [0, 0.5, 1] })],
      series: [{}, ...states.map((state) => ({ stroke: "transparent", width: 0, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }), fill: state ? undefined : colour(0) }))],
      bands: states.slice(1).map((state) => ({ series: [state + 1, state], fill: colour(state) })),
    }, [seconds, ...sums]);
    const measured = ["series-plot", "known-plot"].map((id) => document.getElementById(id).chart);
    align(measured);
  }

  function align([upper, lower]) {
    lower.axes[1].size = () => upper.axes[1]._size ?? 0;
    const follow = () => lower.axes[1]._size === upper.axes[1]._size || lower.setSize({ width: lower.width, height: lower.height });
    (upper.hooks.draw ??= []).push(follow);
  }

  function showUnit() {
    const unit = document.getElementById("pick-unit")?.value ?? "0";
    for (const block of document.querySelectorAll(".unit")) block.hidden = block.dataset.unit !== unit;
    for (const element of document.querySelectorAll(`.unit[data-unit="${unit}"] [data-figure]`)) if (!element.chart) draw(element);
  }

  function sort(head) {
    const table = head.closest("table"), body = table.tBodies[0], place = head.cellIndex;
    const falling = head.getAttribute("aria-sort") === "ascending";
    const key = (row) => {
      const cell = row.cells[place], text = (cell.dataset.value ?? cell.innerText).trim();
      const value = parseFloat(text.replace(/[,\s]/g, "").replace("−", "-").replace("∞", "Infinity"));
      return Number.isNaN(value) ? text : value;
    };
    const before = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    body.append(...[...body.rows].sort((a, b) => (falling ? -1 : 1) * before(key(a), key(b))));
  }

  for (const id of ["pick-series", "pick-value", "pick-path", "pick-span"]) document.getElementById(id).addEventListener("change", drawSeries);
  document.getElementById("pick-unit")?.addEventListener("change", showUnit);
  for (const head of document.querySelectorAll("table.sorts th")) {
    head.tabIndex = 0;
    head.addEventListener("click", () => sort(head));
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(head); });
  }
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((made) => made.redraw()));
  drawSeries();
  showUnit();
  requestAnimationFrame(() => requestAnimationFrame(() => { root.dataset.drawn = String(charts.length); }));
})();
