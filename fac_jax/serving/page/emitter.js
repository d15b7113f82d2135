// Tells who listens what happens.

export class Emitter {
  #listeners = new Map();

  on(kind, listener) {
    this.#listeners.set(kind, [...(this.#listeners.get(kind) ?? []), listener]);
    return this;
  }

  tell(kind, detail) {
    for (const listener of this.#listeners.get(kind) ?? []) listener(detail);
  }
}
