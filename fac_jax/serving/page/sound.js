// The page's audio graph: what is played, what is asked from a file, and how loud both are.

import { chunksOf, feed } from "./feed.js";
import { makeContext } from "./microphone.js";
import { toPcm16 } from "./pcm.js";
import { makePlayer } from "./player.js";

/** Makes the graph; call it in a click. `tell` gets the events of the player. */
export async function makeSound(tell) {
  const context = makeContext();
  const player = await makePlayer(context, tell);
  const output = context.createAnalyser();
  const asked = context.createAnalyser();
  player.node.connect(output).connect(context.destination);
  asked.connect(context.destination);
  await context.resume();
  return {
    context,
    player,
    output,
    asked,
    /** Reads a sound file (ArrayBuffer). */
    read: (file) => context.decodeAudioData(file),
    /** Plays a sound that was read and hands it on as speech; `silence` seconds follow. Returns what stops it. */
    say(buffer, silence, send, over) {
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(asked);
      source.start();
      const stop = feed(chunksOf(toPcm16(buffer.getChannelData(0)), silence), send, over);
      return () => {
        source.stop();
        stop();
      };
    },
  };
}
