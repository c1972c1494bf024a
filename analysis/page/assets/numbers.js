// Numbers as people read them, and where axes get theirs.

const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const SHORT = [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]];

const minus = (text) => text.replace(/-/g, "\u2212");
const digits = (value, most) => minus(String(Number(value.toPrecision(most))));

function power(value, most = 3) {
  const exponent = Math.floor(Math.log10(Math.abs(value)) + 1e-9);
  const mantissa = Number((value / 10 ** exponent).toPrecision(most));
  const raised = `10${String(exponent).replace(/./g, (letter) => SUPERSCRIPT[letter])}`;
  return mantissa === 1 ? raised : `${digits(mantissa, most)}·${raised}`;
}

function short(value, most = 3) {
  const [scale, letter] = SHORT.find(([at]) => Math.abs(value) >= 0.9995 * at) ?? [1, ""];
  return digits(value / scale, most) + letter;
}

function signed(value, most = 3) {
  return value > 0 ? `+${digits(value, most)}` : digits(value, most);
}

// Returns a number in its unit; an en dash where it is missing.
function written(value, unit, most) {
  if (value === null || value === undefined) return "–";
  switch (unit) {
    case "core_hours": return value < 1 ? digits(value, most ?? 3) : short(value, most ?? 4);
    case "flops": return power(value, most ?? 3);
    case "params": return short(value, most ?? 3);
    case "loss": return digits(value, most ?? 5);
    case "percent": return `${signed(value, most ?? 3)} %`;
    case "factor": return `${digits(value, most ?? 3)}×`;
    case "count": return Math.abs(value) >= 1e4 ? short(value, most ?? 3) : digits(value, most ?? 4);
    default: return digits(value, most ?? 4);
  }
}

const decades = (low, high, wanted) => {
  const found = [];
  for (let exponent = Math.floor(Math.log10(low)) - 1; exponent <= Math.ceil(Math.log10(high)); exponent += 1) {
    for (const digit of wanted) {
      const value = Number(`${digit}e${exponent}`);
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) found.push(value);
    }
  }
  return found;
};

function steps(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const scale = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * scale).find((value) => value >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i += 1) {
    found.push(Number((i * step).toPrecision(12)));
  }
  return found;
}

// Returns round numbers between two others, at most so many; on log axes the densest of 1, 1-3 and 1-2-5 that fits.
function ticks(low, high, isLog, most) {
  if (!isLog) return steps(low, high, most);
  for (const wanted of [[1, 2, 5], [1, 3], [1]]) {
    const found = decades(low, high, wanted);
    if (found.length >= 3 && found.length <= most) return found;
  }
  const tens = decades(low, high, [1]);
  if (tens.length >= 2 && tens.length <= most) return tens;
  if (tens.length > most) return tens.filter((_, i) => i % Math.ceil(tens.length / most) === 0);
  return steps(low, high, most).filter((value) => value > 0);
}
