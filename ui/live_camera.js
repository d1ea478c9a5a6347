// The camera: opened by a click; one frame at a time goes to Python, and what it answers is drawn over the picture.
// Streamlit calls the default export with each answer, so nothing is built twice. live_chart.js stands below this in
// the same module.

const SENT_PX = 480 // the longer side of a frame: faces of 48 pixels stay sharp
const JPEG_QUALITY = 0.8
const LEAST_MS = 66 // between two frames: 15 a second look smooth, and more would only take cores from a training
const LOST_MS = 1000 // after so long another frame goes out: a rerun of the page may have taken the place of the answer
const SLOW_MS = 3000 // and after so long without any answer, that is said
const LEFT_MS = 1500 // Streamlit may take the component away and draw it again, when a click and a frame come together
const HIDDEN_MS = 500 // how often a tab that nobody looks at finds out whether that is still so
const SAID_EVERY_MS = 2000 // a screen reader is told no oftener who shows what

const OFF = "The camera is off."
const WORDS = {
  noMediaDevices:
    "This browser gives the page no camera. Browsers do so only at addresses that begin with https and, on the " +
    "computer itself, at localhost or 127.0.0.1: open the app there.",
  NotAllowedError:
    "The browser does not allow the camera here. Allow it beside the page's address, or in the system's settings, " +
    "and start again.",
  NotFoundError: "No camera was found. Connect one and start again.",
  NotReadableError: "The camera cannot be read; another program may be using it. Close that one and start again.",
  ended: "The camera was disconnected. Connect it and start again.",
  slow: "The app takes long to answer.",
}
WORDS.SecurityError = WORDS.NotAllowedError
WORDS.AbortError = WORDS.NotReadableError

const cameras = new WeakMap()
const left = new Map() // key -> the camera, still open, of a part of the page that has just gone

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const camera = cameras.get(parentElement) ?? build(parentElement)
  if (String(camera.data?.classes) !== String(data.classes)) camera.points = [] // another net, of other emotions
  camera.data = data
  camera.send = (frame) => setTriggerValue("frame", frame)
  if (!cameras.has(parentElement)) takeOver(camera)
  cameras.set(parentElement, camera)
  heard(camera)
  return () => {
    cameras.delete(parentElement)
    leave(camera)
  }
}

function build(root) {
  const part = (name) => root.querySelector(`.${name}`)
  const camera = {
    live: part("live"),
    stage: part("stage"),
    video: part("video"),
    over: part("over"),
    button: part("switch"),
    status: part("status"),
    speed: part("speed"),
    chart: chart(part("chart")),
    small: document.createElement("canvas"),
    points: [],
    turn: 0, // of the switch: a stream that was asked for before the last one is closed at once
    number: Date.now(), // of a frame; after a reload it goes on with numbers that were never used
  }
  camera.button.onclick = () => (camera.button.hasAttribute("data-on") ? stop(camera, OFF) : start(camera))
  camera.video.onloadeddata = () => playing(camera)
  camera.observer = new ResizeObserver(() => draw(camera))
  camera.observer.observe(camera.stage)
  camera.observer.observe(part("chart"))
  show(camera, false, OFF)
  return camera
}

async function start(camera) {
  const turn = ++camera.turn
  if (!navigator.mediaDevices?.getUserMedia) return stop(camera, WORDS.noMediaDevices)
  show(camera, true, "The browser asks whether this page may use the camera.")
  let stream
  try {
    const video = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" }
    stream = await navigator.mediaDevices.getUserMedia({ video, audio: false })
  } catch (error) {
    if (turn === camera.turn) stop(camera, WORDS[error.name] ?? `The camera could not be opened (${error.name}).`)
    return
  }
  if (turn !== camera.turn) return close(stream)
  Object.assign(camera, { sentAt: new Map(), lastAt: 0, heardAt: performance.now(), trips: [], points: [] })
  play(camera, stream)
}

function play(camera, stream) {
  camera.stream = stream
  stream.getVideoTracks()[0].onended = () => stop(camera, WORDS.ended)
  camera.video.srcObject = stream
  camera.video.play().catch(() => {}) // it was stopped before it played
  show(camera, true, "The camera is on.")
  draw(camera)
}

function leave(camera) {
  camera.turn++
  camera.observer.disconnect()
  clearTimeout(camera.timer)
  if (!camera.stream) return
  left.set(camera.data.key, camera)
  camera.timer = setTimeout(() => {
    left.delete(camera.data.key)
    stop(camera, OFF)
  }, LEFT_MS)
}

function takeOver(camera) {
  const before = left.get(camera.data.key)
  if (!before) return
  left.delete(camera.data.key)
  clearTimeout(before.timer)
  const { stream, number, sentAt, lastAt, heardAt, trips, points, answer } = before
  Object.assign(camera, { number, sentAt, lastAt, heardAt, trips, points, answer })
  play(camera, stream)
}

function stop(camera, words) {
  camera.turn++
  clearTimeout(camera.timer)
  if (camera.stream) close(camera.stream)
  camera.video.srcObject = null
  Object.assign(camera, { stream: null, answer: null })
  show(camera, false, words)
  draw(camera)
}

function close(stream) {
  for (const track of stream.getTracks()) track.stop()
}

function show(camera, on, words) {
  camera.button.textContent = on ? "Stop" : "Start the camera"
  camera.button.toggleAttribute("data-on", on)
  camera.live.classList.toggle("on", Boolean(camera.stream))
  camera.speed.textContent = ""
  say(camera, words, !on && words !== OFF)
}

function say(camera, words, wrong = false) {
  camera.saidAt = performance.now()
  camera.status.toggleAttribute("data-wrong", wrong)
  if (camera.status.textContent !== words) camera.status.textContent = words
}

function playing(camera) {
  if (!camera.stream) return
  camera.stage.style.setProperty("--shape", camera.video.videoWidth / camera.video.videoHeight)
  next(camera)
}

function next(camera) {
  clearTimeout(camera.timer)
  const wait = document.hidden ? HIDDEN_MS : camera.lastAt + LEAST_MS - performance.now()
  camera.timer = setTimeout(() => (document.hidden ? next(camera) : ask(camera)), wait)
}

function ask(camera) {
  camera.lastAt = performance.now()
  camera.sentAt.set(++camera.number, camera.lastAt)
  camera.send({ number: camera.number, jpeg: frame(camera) })
  camera.timer = setTimeout(() => late(camera), LOST_MS)
}

function frame({ video, small }) {
  const share = Math.min(1, SENT_PX / Math.max(video.videoWidth, video.videoHeight))
  small.width = Math.round(video.videoWidth * share)
  small.height = Math.round(video.videoHeight * share)
  small.getContext("2d", { willReadFrequently: true }).drawImage(video, 0, 0, small.width, small.height)
  return small.toDataURL("image/jpeg", JPEG_QUALITY).split(",")[1]
}

function late(camera) {
  if (performance.now() - camera.heardAt > SLOW_MS) say(camera, WORDS.slow, true)
  next(camera)
}

function heard(camera) {
  const { answer } = camera.data
  if (!camera.stream || !camera.sentAt.has(answer?.number)) return // an old one, shown again by a rerun of the page
  const now = performance.now()
  const took = now - camera.sentAt.get(answer.number)
  for (const number of camera.sentAt.keys()) if (number <= answer.number) camera.sentAt.delete(number)
  Object.assign(camera, { answer, heardAt: now })
  camera.trips = [...camera.trips, { at: now, took }].filter(({ at }) => now - at < 3000)
  camera.points = [...camera.points, { at: now, ...answer.largest }].filter(({ at }) => now - at < 1000 * SHOWN_S)
  draw(camera)
  if (now - camera.saidAt > SAID_EVERY_MS) {
    say(camera, answer.problem || inWords(answer.faces), Boolean(answer.problem))
    camera.speed.textContent = speed(camera.trips)
  }
  if (answer.number === camera.number) next(camera)
}

function inWords(faces) {
  return faces.length ? faces.map(({ number, said }) => `Face ${number}: ${said}`).join(", ") : "No face was found."
}

function speed(trips) {
  const seconds = (trips.at(-1).at - trips[0].at) / 1000
  if (!seconds) return ""
  const middle = trips.map(({ took }) => took).sort((a, b) => a - b)[Math.floor(trips.length / 2)]
  return `${((trips.length - 1) / seconds).toFixed(1)} frames a second, answered in ${middle.toFixed(0)} ms`
}

function draw(camera) {
  const { classes, colors } = camera.data
  const pen = wiped(camera)
  if (camera.answer) drawFaces(pen, camera.stage, camera.answer, (emotion) => colors[classes.indexOf(emotion)])
  camera.chart(classes, colors, camera.points)
}

function wiped({ stage, over }) {
  const sharp = window.devicePixelRatio || 1
  const [width, height] = [Math.round(stage.clientWidth * sharp), Math.round(stage.clientHeight * sharp)]
  if (over.width !== width || over.height !== height) Object.assign(over, { width, height })
  const pen = over.getContext("2d")
  pen.setTransform(sharp, 0, 0, sharp, 0, 0)
  pen.clearRect(0, 0, width, height)
  return pen
}

function drawFaces(pen, stage, answer, colorOf) {
  const { clientWidth: width, clientHeight: height } = stage
  const font = Math.max(14, Math.min(18, width / 32))
  pen.font = `600 ${font}px ${getComputedStyle(stage).fontFamily}`
  pen.textBaseline = "middle"
  const [across, down] = [width / answer.size[0], height / answer.size[1]]
  for (const { box, ...face } of answer.faces) {
    const [left, top] = [width - box[2] * across, box[1] * down] // as in a mirror
    outline(pen, [left, top, (box[2] - box[0]) * across, (box[3] - box[1]) * down], colorOf(face.likeliest), face)
    label(pen, caption(face), left - 3, top - 3, font, width, colorOf(face.likeliest))
  }
  if (!answer.faces.length) label(pen, "No face found", 8, height - 8, font, width)
}

function caption({ number, said, likeliest, probability }) {
  const share = `${likeliest} ${Math.round(100 * probability)}%`
  return `Face ${number}: ${said === likeliest ? share : `${said} (${share})`}`
}

// Dashed where the net is not sure.
function outline(pen, box, color, { said, likeliest }) {
  pen.setLineDash(said === likeliest ? [] : [8, 6])
  for (const [style, wide] of [["rgba(0, 0, 0, 0.6)", 6], [color, 3]]) {
    pen.strokeStyle = style
    pen.lineWidth = wide
    pen.strokeRect(...box)
  }
}

// White on nearly black, a bar of the emotion's colour beside it: readable on whatever the camera shows.
function label(pen, words, left, bottom, font, room, color = "transparent") {
  const [bar, wide, high] = [font / 2, pen.measureText(words).width + 1.5 * font, 1.7 * font]
  const [x, y] = [Math.max(0, Math.min(left, room - wide)), Math.max(0, bottom - high)]
  pen.fillStyle = "rgba(0, 0, 0, 0.75)"
  pen.fillRect(x, y, wide, high)
  pen.fillStyle = color
  pen.fillRect(x, y, bar, high)
  pen.fillStyle = "white"
  pen.fillText(words, x + 2 * bar, y + high / 2)
}
