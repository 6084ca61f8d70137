// Numbers as text, scales, matrices of states and the order of their units.

export function number(value, digits = 2) {
  if (!Number.isFinite(value)) return "not a number";
  const size = Math.abs(value);
  const small = size > 0 && size < 0.5 * 10 ** -digits && digits > 2;
  if (size >= 1e5 || (small && size < 1e-6)) return value.toExponential(1).replaceAll("-", "−");
  if (small) return value.toPrecision(1).replace("-", "−");
  const text = value.toFixed(size >= 1000 ? 0 : size >= 100 ? 1 : digits);
  return /^-0\.?0*$/.test(text) ? text.slice(1) : text.replace("-", "−");
}

export function signed(value, digits = 2) {
  const text = number(value, digits);
  return value > 0 && Number.isFinite(value) && /[1-9]/.test(text) ? `+${text}` : text;
}

export function shorten(text, most) {
  const letters = Array.from(text);
  return letters.length <= most ? text : letters.slice(0, most - 1).join("") + "…";
}

// Round values from low to high, at most `most` of them.
export function ticks(low, high, most = 4) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-6; value += step) {
    found.push(Math.abs(value) < step * 1e-6 ? 0 : value);
  }
  return found;
}

// Whether outputs are probabilities of classes; otherwise they are values.
export function probabilities(rows) {
  const row = rows.find((each) => each.every(Number.isFinite));
  if (!row) return rows[0].length > 1;
  return row.length > 1 && row.every((value) => value >= 0) && Math.abs(row.reduce((a, b) => a + b, 0) - 1) < 0.01;
}

export function quantile(values, share) {
  const sorted = Float32Array.from(values).sort();
  return sorted.length ? sorted[Math.round(share * (sorted.length - 1))] : 0;
}

// A matrix (steps, width) from nested lists, or from bytes in base64 times a scale.
export function matrix(stored) {
  if (Array.isArray(stored)) {
    const steps = stored.length;
    const width = steps ? stored[0].length : 0;
    const flat = new Float32Array(steps * width);
    stored.forEach((row, t) => flat.set(row.map((value) => value ?? NaN), t * width));
    return { steps, width, whole: width, flat, units: Array.from({ length: width }, (_, u) => u + 1) };
  }
  const [steps, width] = stored.shape;
  const bytes = Int8Array.from(atob(stored.data), (letter) => letter.charCodeAt(0));
  const flat = Float32Array.from(bytes, (level) => (level === -128 ? NaN : level * stored.scale));
  return { steps, width, whole: stored.whole, flat, units: stored.units };
}

// The columns of a matrix that follow the output most: those that rise with it first, those that fall last.
export function ordering(values, output, most) {
  const { steps, width, flat } = values;
  const centre = output.reduce((sum, value) => sum + (value || 0), 0) / (steps || 1);
  const follows = new Float64Array(width);
  for (let u = 0; u < width; u += 1) {
    let mean = 0;
    for (let t = 0; t < steps; t += 1) mean += (flat[t * width + u] || 0) / steps;
    let product = 0;
    let square = 1e-12;
    for (let t = 0; t < steps; t += 1) {
      const value = (flat[t * width + u] || 0) - mean;
      product += value * ((output[t] || 0) - centre);
      square += value * value;
    }
    follows[u] = product / Math.sqrt(square);
  }
  const order = Array.from(follows.keys());
  order.sort((a, b) => Math.abs(follows[b]) - Math.abs(follows[a]) || a - b);
  return order.slice(0, most).sort((a, b) => follows[b] - follows[a] || a - b);
}
