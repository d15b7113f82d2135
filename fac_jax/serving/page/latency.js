// How long the user waits: from the end of the turn to each first thing, for the last reply and as the median.

const STAGES = ["text", "units", "audio", "played"];

const REMARKS = {
  spoken: ({ silence }) => `From the end of your turn, which ${silence} ms of silence showed.`,
  held: () => "From when you ended your turn.",
  written: () => "From when the message was sent.",
};

export class Latency {
  constructor(table, headline, note) {
    this.table = table;
    this.headline = headline;
    this.note = note;
    this.clear();
  }

  clear() {
    this.turns = []; // {stage: ms}
    this.ended = null; // the turn that waits for its reply
    this.waits = new Map(); // reply -> {since, times}
    this.note.textContent = "From the end of your turn; the mark is the median.";
    this.show({});
  }

  /** The user's turn is over: {at, how: spoken, written or held, silence}. */
  begin(ended) {
    this.ended = ended;
  }

  /** A reply to it began. */
  reply(reply) {
    if (!this.ended) return;
    const times = {};
    this.waits.set(reply, { since: this.ended.at, times });
    this.turns.push(times);
    this.remark = REMARKS[this.ended.how](this.ended);
    this.note.textContent = this.remark;
    this.ended = null;
  }

  /** The first text, units, audio or played sample of a reply; later ones change nothing. */
  first({ reply, what }) {
    const wait = this.waits.get(reply);
    if (!wait || what in wait.times) return;
    wait.times[what] = performance.now() - wait.since;
    this.show(wait.times);
  }

  /** What the server says of itself: milliseconds in the queue and for the prompt. */
  server(reply, { queued, prefill }) {
    if (this.waits.has(reply) && Number.isFinite(queued) && Number.isFinite(prefill))
      this.note.textContent = `${this.remark} Of it, ${shown(queued)} in the queue and ${shown(prefill)} for the prompt.`;
  }

  show(times) {
    const medians = Object.fromEntries(STAGES.map((stage) => [stage, this.median(stage)]));
    const widest = Math.max(1, ...Object.values(times), ...Object.values(medians).filter(Number.isFinite));
    for (const stage of STAGES) {
      const row = this.table.querySelector(`[data-stage=${stage}]`);
      row.querySelector(".last").textContent = shown(times[stage]);
      row.querySelector(".median").textContent = shown(medians[stage]);
      row.querySelector(".bar").style.setProperty("--share", (times[stage] ?? 0) / widest);
      row.querySelector(".bar").style.setProperty("--median", (medians[stage] ?? 0) / widest);
    }
    const heard = times.played;
    this.headline.textContent = heard === undefined ? "" : `${shown(heard)} to the first sound`;
  }

  median(stage) {
    const values = this.turns.map((times) => times[stage]).filter((value) => value !== undefined);
    values.sort((a, b) => a - b);
    const middle = values.length / 2;
    return values.length % 2 ? values[Math.floor(middle)] : (values[middle - 1] + values[middle]) / 2;
  }
}

const shown = (ms) => (Number.isFinite(ms) ? `${Math.round(ms)} ms` : "–");
