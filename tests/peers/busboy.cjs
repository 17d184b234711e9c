// busboy as a peer: serves on a port of its own, which it prints; answers a POST with the fields
// and files that busboy reads in its body. `require`, since NODE_PATH counts for nothing else.

const { createServer } = require("node:http");
const { buffer } = require("node:stream/consumers");
const busboy = require("busboy");

const LIMITS = { fieldSize: 2 ** 24 };

const server = createServer((request, response) => {
  const found = [];
  const finish = (status, body) => {
    response.writeHead(status, { Connection: "close" });
    response.end(JSON.stringify(body));
  };
  let form;
  try {
    form = busboy({
      headers: request.headers,
      defParamCharset: "utf8", // its default is latin1
      preservePath: true,
      limits: LIMITS,
    });
  } catch (error) {
    request.resume();
    finish(400, error.message);
    return;
  }
  form.on("field", (name, value, info) => {
    const data = Buffer.from(value).toString("base64");
    found.push({ name, filename: null, type: info.mimeType, data });
  });
  form.on("file", (name, stream, info) => {
    const entry = { name, filename: info.filename ?? null, type: info.mimeType };
    found.push(entry);
    entry.reading = buffer(stream).then((data) => {
      entry.data = data.toString("base64");
    });
  });
  form.on("error", (error) => finish(400, error.message));
  form.on("close", async () => {
    await Promise.all(found.map((entry) => entry.reading));
    finish(200, found.map(({ reading, ...entry }) => entry));
  });
  request.pipe(form);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
