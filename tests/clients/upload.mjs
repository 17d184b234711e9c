// Uploads files with Node's fetch and FormData. Reads {url, count, files: [[name, path]]} from
// standard input; prints [[status, body], ...], one for each of `count` requests at once.

import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";

const { url, count, files } = JSON.parse(await text(process.stdin));
const form = new FormData();
form.append("note", "Grüße");
for (const [name, path] of files) form.append("file", new Blob([await readFile(path)]), name);

const send = async () => {
  const response = await fetch(url, { method: "POST", body: form });
  return [response.status, await response.json()];
};
console.log(JSON.stringify(await Promise.all(Array.from({ length: count }, send))));
