// One grid of faces cut out of one JPEG sheet. Streamlit calls the default export at every rerun, so each part is
// touched only when it changed: a rerun that changes nothing must not flicker, lose focus or decode the sheet again.

const galleries = new WeakMap()
const revealed = new Map() // gallery's key -> the highest number that has been scrolled to

export default function (component) {
  const { data, parentElement, setStateValue } = component
  const gallery = galleries.get(parentElement) ?? { grid: parentElement.querySelector(".gallery") }
  galleries.set(parentElement, gallery)
  Object.assign(gallery, { data, alive: true })
  gallery.pick = (position) => {
    mark(gallery.grid, position)
    setStateValue("picked", [gallery.data.stamp, position])
  }
  gallery.grid.onclick = (event) => clicked(gallery, event)
  gallery.grid.onkeydown = (event) => keyed(gallery, event)
  show(gallery)
  return () => release(gallery)
}

async function show(gallery) {
  const { sheet } = gallery.data
  if (gallery.sheetId !== sheet.id) {
    gallery.sheetId = sheet.id
    // Decoded before the old faces go: the next page of faces replaces the last one in a single frame.
    const next = await decode(sheet.jpeg)
    if (!gallery.alive || gallery.sheetId !== sheet.id) return URL.revokeObjectURL(next.url)
    if (gallery.url) URL.revokeObjectURL(gallery.url)
    Object.assign(gallery, next, { shownId: sheet.id, stamp: null })
    gallery.grid.replaceChildren(...gallery.data.captions.map((_, position) => tile(sheet, position)))
    gallery.grid.style.setProperty("--sheet", `url(${next.url})`)
    toTop(parentOf(gallery.grid))
  }
  if (gallery.shownId !== sheet.id) return // still being decoded by an earlier call, which then draws the newest data
  label(gallery.grid, gallery.data)
  reveal(gallery)
  if (gallery.stamp === gallery.data.stamp) return // a click that Python has not seen yet stays marked
  gallery.stamp = gallery.data.stamp
  mark(gallery.grid, gallery.data.selected)
}

async function decode(jpeg) {
  const url = URL.createObjectURL(new Blob([bytes(jpeg)], { type: "image/jpeg" }))
  const image = new Image() // kept with the gallery: the tiles then paint from the decoded picture
  image.src = url
  await image.decode()
  return { url, image }
}

// Sizes in percent of the face, so that the grid can stretch it: see the formula of background-position.
function tile({ columns, rows, face, cell, margin }, position) {
  const at = [position % columns, Math.floor(position / columns)]
  const total = [columns * cell[0], rows * cell[1]]
  const percent = (axis) => (100 * (at[axis] * cell[axis] + margin[axis])) / (total[axis] - face[axis])
  const option = element("div", "tile", { role: "option", tabindex: "-1" })
  const picture = element("div", "face")
  picture.style.backgroundPosition = `${percent(0)}% ${percent(1)}%`
  option.append(picture, element("div", "caption"))
  return option
}

function label(grid, data) {
  const { face, cell, columns, rows } = data.sheet
  const style = {
    "--face-px": `${data.face_px}px`,
    "--face-ratio": `${face[0]} / ${face[1]}`,
    "--sheet-size": `${(100 * columns * cell[0]) / face[0]}% ${(100 * rows * cell[1]) / face[1]}%`,
  }
  for (const [name, value] of Object.entries(style)) grid.style.setProperty(name, value)
  grid.setAttribute("aria-label", `${data.captions.length} faces`)
  grid.classList.toggle("bare", data.captions.every((caption) => !caption))
  for (const [position, option] of [...grid.children].entries()) {
    option.dataset.tone = data.tones[position]
    option.setAttribute("aria-label", data.alt[position])
    caption(option, data.captions[position])
  }
}

// Text nodes only: a file name or a label may look like HTML.
function caption(option, text) {
  if (option.dataset.caption === text) return
  option.dataset.caption = text
  option.lastChild.replaceChildren(
    ...text.split("\n").map((line) => {
      const row = element("div", "line")
      row.textContent = line
      return row
    }),
  )
}

function reveal({ grid, data }) {
  const [key, number] = data.reveal
  if (number <= (revealed.get(key) ?? 0)) return
  revealed.set(key, number)
  grid.scrollIntoView({ block: "start", behavior: "smooth" }) // the stylesheet leaves room for what stands above
}

// Other faces are read from the first one on; the page itself stays where it is.
function toTop(box) {
  while (box && !/auto|scroll/.test(getComputedStyle(box).overflowY)) box = parentOf(box)
  if (box && box.dataset.testid !== "stMain" && box !== document.scrollingElement) box.scrollTop = 0
}

function parentOf(node) {
  return node.parentElement ?? node.getRootNode().host
}

function mark(grid, position) {
  for (const [i, option] of [...grid.children].entries()) {
    option.setAttribute("aria-selected", String(i === position))
    option.tabIndex = i === (position ?? 0) ? 0 : -1
  }
}

function clicked(gallery, event) {
  const option = event.target.closest(".tile")
  if (option) gallery.pick([...gallery.grid.children].indexOf(option))
}

function keyed(gallery, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return
  const options = [...gallery.grid.children]
  const now = options.indexOf(event.target.closest(".tile"))
  if (now < 0) return
  const perRow = getComputedStyle(gallery.grid).gridTemplateColumns.split(" ").length
  const steps = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -perRow,
    ArrowDown: perRow,
    Home: -now,
    End: options.length - 1 - now,
  }
  if (event.key === "Enter" || event.key === " ") gallery.pick(now)
  else if (event.key in steps) focus(options, now, now + steps[event.key])
  else return
  event.preventDefault() // no page scroll under the moving focus
  event.stopPropagation() // and none of Streamlit's own shortcuts
}

// Only one tile is a tab stop (roving tabindex): Tab leaves the gallery instead of visiting 200 faces.
function focus(options, from, to) {
  if (!options[to]) return
  options[from].tabIndex = -1
  options[to].tabIndex = 0
  options[to].focus()
}

function release(gallery) {
  gallery.alive = false
  if (gallery.url) URL.revokeObjectURL(gallery.url)
  Object.assign(gallery, { url: null, image: null, sheetId: null, shownId: null })
}

function element(tag, className, attributes = {}) {
  const made = document.createElement(tag)
  made.className = className
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  return made
}

function bytes(base64) {
  const letters = atob(base64)
  const made = new Uint8Array(letters.length)
  for (let i = 0; i < letters.length; i++) made[i] = letters.charCodeAt(i)
  return made
}
