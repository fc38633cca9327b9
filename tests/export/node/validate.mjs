// node validate.mjs FILE.glb ...: prints the Khronos validator's reports as a JSON list.
import { readFileSync } from "node:fs";
import validator from "gltf-validator";

const reports = [];
for (const path of process.argv.slice(2)) {
  reports.push(await validator.validateBytes(new Uint8Array(readFileSync(path)), { uri: path }));
}
console.log(JSON.stringify(reports));
