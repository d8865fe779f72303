// Draws an example on a canvas: pixels, curves or bars.

const COLOURS = ["#4c78c8", "#e07b39", "#3f9b5b", "#c44e52", "#8a6bbf", "#8c613c", "#d27fb5", "#7f7f7f"];

// Small: without names and numbers.
export function draw(canvas, example, small = false) {
  canvas.classList.toggle("wide", example.kind === "curves" || example.kind === "bars");
  if (example.kind === "pixels") drawPixels(canvas, example);
  else if (example.kind === "curves") drawCurves(canvas, example, small);
  else if (example.kind === "bars") drawBars(canvas, example, small);
  else canvas.width = canvas.height = 1;
  canvas.title = example.note;
}

export function canvasOf(example, label, small = true) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  draw(canvas, example, small);
  return canvas;
}

export function savePng(canvas, name) {
  canvas.toBlob((blob) => saveFile(blob, name), "image/png");
}

export function saveFile(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function drawPixels(canvas, { width, height, channels, data }) {
  const bytes = atob(data);
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = bytes.charCodeAt(i * channels + (channels === 3 ? c : 0));
    image.data[4 * i + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function prepare(canvas, width, height) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  pen.fillStyle = style.getPropertyValue("--paper");
  pen.fillRect(0, 0, width, height);
  pen.font = "13px system-ui, sans-serif";
  pen.fillStyle = pen.strokeStyle = style.getPropertyValue("--ink");
  return pen;
}

function drawCurves(canvas, { values, names }, small) {
  const [width, height, edge] = small ? [116, 84, 4] : [640, 260, 22];
  const pen = prepare(canvas, width, height);
  const all = values.flat().filter((value) => value !== null); // null: missing
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const up = (value) => height - edge - ((value - low) / (high - low || 1)) * (height - 2 * edge);
  pen.lineWidth = small ? 1 : 1.5;
  if (!small) {
    pen.fillText(high.toPrecision(3), 2, 14);
    pen.fillText(low.toPrecision(3), 2, height - 5);
  }
  values.forEach((row, i) => {
    pen.strokeStyle = pen.fillStyle = COLOURS[i % COLOURS.length];
    pen.beginPath();
    let joined = false;
    row.forEach((value, t) => {
      const x = (t / Math.max(1, row.length - 1)) * width;
      if (value !== null) pen[joined ? "lineTo" : "moveTo"](x, up(value));
      joined = value !== null;
    });
    pen.stroke();
    if (values.length > 1 && !small) pen.fillText(names[i], 70 + 90 * i, 14);
  });
}

function drawBars(canvas, { values, heights, names }, small) {
  const named = values.length <= 40 && !small;
  const row = named ? 22 : small ? Math.max(2, Math.round(84 / values.length)) : 2;
  const [width, left, right] = small ? [116, 2, 2] : [640, named ? 190 : 4, named ? 90 : 4];
  const pen = prepare(canvas, width, row * values.length + 4);
  const most = Math.max(3, ...heights.map(Math.abs));
  const middle = left + (width - left - right) / 2;
  heights.forEach((value, i) => {
    const length = (value / most) * (middle - left);
    pen.globalAlpha = 0.85;
    pen.fillStyle = value < 0 ? COLOURS[0] : COLOURS[1];
    pen.fillRect(Math.min(middle, middle + length), row * i + (named ? 3 : 1), Math.max(1, Math.abs(length)), named ? row - 5 : Math.max(1, row - 1));
    if (!named) return;
    pen.globalAlpha = 1;
    pen.fillStyle = pen.strokeStyle;
    pen.fillText(names[i].slice(0, 26), 2, row * i + 17);
    pen.fillText(values[i] === null ? "missing" : values[i].toPrecision(4), width - 84, row * i + 17);
  });
}
