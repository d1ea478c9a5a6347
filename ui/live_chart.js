// The running chart: seven probabilities of one face over the last seconds. SVG, so that the page's font and its light
// or dark colours hold by themselves.

const SHOWN_S = 20
const GAP_MS = 1500 // points further apart are not joined
const SHARES = [0, 0.5, 1]

// Gives the function that draws it: classes and their colours, points { at, face, probabilities }, the newest last.
function chart(figure) {
  const svg = figure.querySelector("svg")
  return (classes, colors, points) => {
    if (!figure.clientWidth) return // it is no longer on the page
    const place = places(figure, points.at(-1)?.at ?? 0)
    svg.setAttribute("viewBox", `0 0 ${place.width} ${place.height}`)
    svg.replaceChildren(
      ...axes(place),
      ...classes.map((_, at) => shape("path", { class: "line", stroke: colors[at], d: path(points, at, place) })),
      ...ends(classes, colors, points, place),
    )
  }
}

function places(figure, now) {
  const em = parseFloat(getComputedStyle(figure).fontSize)
  const { clientWidth: width, clientHeight: height } = figure
  const [left, right, top, bottom] = [3.2 * em, width - 9.2 * em, em, height - 1.8 * em]
  const x = (at) => right - ((now - at) / 1000 / SHOWN_S) * (right - left)
  const y = (share) => bottom - share * (bottom - top)
  return { em, width, height, left, right, bottom, x, y }
}

function axes({ em, left, right, bottom, y }) {
  const row = (share) => [
    shape("line", { class: "grid", x1: left, x2: right, y1: y(share), y2: y(share) }),
    text(`${100 * share}%`, left - 0.5 * em, y(share) + 0.35 * em, "end"),
  ]
  const under = bottom + 1.4 * em
  return [...SHARES.flatMap(row), text(`${SHOWN_S} s ago`, left, under, "start"), text("now", right, under, "end")]
}

function path(points, at, { left, x, y }) {
  let before = null
  let drawn = ""
  for (const point of points) {
    if (!point.probabilities || x(point.at) < left) before = null
    else {
      const joined = before && before.face === point.face && point.at - before.at < GAP_MS
      drawn += `${joined ? "L" : "M"}${x(point.at).toFixed(1)},${y(point.probabilities[at]).toFixed(1)}`
      before = point
    }
  }
  return drawn
}

// Each line's name and latest share, the surest in bold, moved apart where lines end close together.
function ends(classes, colors, points, { em, right, bottom, y }) {
  const last = points.at(-1)?.probabilities
  if (!last) return []
  const order = [...last.keys()].sort((a, b) => last[b] - last[a])
  const step = 1.25 * em
  const lowest = bottom + 0.35 * em
  const heights = []
  for (const [row, at] of order.entries()) heights.push(Math.max(y(last[at]), row ? heights[row - 1] + step : 0))
  for (let row = order.length - 1, limit = lowest; row >= 0; row--, limit -= step) {
    heights[row] = Math.min(heights[row], limit)
  }
  return order.flatMap((at, row) => {
    const leader = `M${right},${y(last[at])}L${right + em},${heights[row]}L${right + 1.6 * em},${heights[row]}`
    const words = text(
      `${classes[at]} ${Math.round(100 * last[at])}%`, right + 1.9 * em, heights[row] + 0.35 * em, "start",
    )
    words.classList.toggle("surest", row === 0)
    return [shape("path", { class: "leader", stroke: colors[at], d: leader }), words]
  })
}

function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  return made
}

function text(words, x, y, anchor) {
  const made = shape("text", { x, y, "text-anchor": anchor })
  made.textContent = words
  return made
}
