// Every event in both directions, the same ones in a row counted together.

const MOST = 400;

export class Events {
  constructor(list, caption) {
    this.list = list;
    this.caption = caption;
    this.clear();
  }

  clear() {
    this.list.replaceChildren();
    this.last = null;
    this.total = 0;
    this.caption.textContent = "";
  }

  /** Adds a line of the recording. */
  add({ t_ms: at, dir, event }) {
    this.total++;
    this.caption.textContent = `${this.total}`;
    if (this.last?.type === event.type) {
      this.last.count.textContent = `×${++this.last.times}`;
      return;
    }
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
    const row = document.createElement("li");
    const cells = { at: (at / 1000).toFixed(2), [dir]: { client: "↑", server: "↓", page: "·" }[dir], type: event.type, count: "" };
    for (const [name, text] of Object.entries(cells)) {
      const cell = document.createElement("span");
      cell.className = name;
      cell.textContent = text;
      row.append(cell);
    }
    row.title = JSON.stringify(event).slice(0, 1000);
    this.list.append(row);
    this.last = { type: event.type, times: 1, count: row.lastChild };
    if (this.list.childElementCount > MOST) this.list.firstChild.remove();
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }
}
