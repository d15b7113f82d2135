// Saved questions for people without a microphone: GET questions.json -> {"questions": [{"text", "url"}]}.

import { ask } from "./socket.js";

/** Offers the questions that the server has; `pose` gets the sound file (ArrayBuffer) of the chosen one. */
export async function offerQuestions(box, list, pose) {
  const { body } = await ask("questions.json", "");
  for (const { text, url } of body?.questions ?? []) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", async () => {
      const answer = await fetch(new URL(url, document.baseURI));
      await pose(await answer.arrayBuffer());
    });
    list.append(button);
  }
  box.hidden = !list.childElementCount;
}
