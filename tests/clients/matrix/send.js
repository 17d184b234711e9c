// Uploads the set with fetch and FormData, in Node and in a browser alike: an expression, a
// function of {urls, parts: [{name, filename, data}]}, where data is base64 and a filename null for
// a field. It gives [status, text] for each address, with status 0 where no answer came.
async ({ urls, parts }) => {
  const form = new FormData();
  for (const { name, filename, data } of parts) {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    if (filename === null) form.append(name, new TextDecoder().decode(bytes));
    else form.append(name, new Blob([bytes]), filename);
  }
  const answers = [];
  for (const url of urls) {
    try {
      const response = await fetch(url, { method: "POST", body: form });
      answers.push([response.status, await response.text()]);
    } catch (error) {
      answers.push([0, `${error}: ${error.cause}`]);
    }
  }
  return answers;
}
