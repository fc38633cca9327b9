// node draw.mjs REQUEST.json: loads a GLB with three.js in headless Chromium, poses it, saves screenshots, and prints
// what three.js made of the file as JSON. The request: {glb, size, chromium, views: [{png, position, target, fov,
// keys: {name: weight}, bones: {name: [x, y, z, w]}, unlit}]}, all in glTF axes and metres.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const request = JSON.parse(readFileSync(process.argv[2]));
const here = fileURLToPath(new URL(".", import.meta.url));

const page_html = `<!doctype html><link rel="icon" href="data:,"><body style="margin:0"><script type="importmap">
{"imports": {"three": "/node_modules/three/build/three.module.js", "three/addons/": "/node_modules/three/examples/jsm/"}}
</script><script type="module">
import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
renderer.setSize(${request.size}, ${request.size});
document.body.append(renderer.domElement);

const gltf = await new GLTFLoader().loadAsync("/avatar.glb");
const meshes = [], bones = {};
gltf.scene.traverse((node) => {
  if (node.isSkinnedMesh) meshes.push(node);
  if (node.isBone) bones[node.name] = { bone: node, rest: node.quaternion.clone() };
  node.frustumCulled = false;
});
const lit = meshes.map((mesh) => mesh.material);
const flat = lit.map((material) => new THREE.MeshBasicMaterial({
  map: material.map, alphaTest: material.alphaTest, side: material.side,
}));

window.draw = (view) => {
  meshes.forEach((mesh, i) => {
    mesh.material = view.unlit ? flat[i] : lit[i];
    for (const [name, index] of Object.entries(mesh.morphTargetDictionary ?? {}))
      mesh.morphTargetInfluences[index] = view.keys[name] ?? 0;
  });
  for (const [name, { bone, rest }] of Object.entries(bones)) {
    bone.quaternion.copy(rest);
    if (view.bones[name]) bone.quaternion.multiply(new THREE.Quaternion(...view.bones[name]));
  }
  const scene = new THREE.Scene();
  scene.background = new THREE.Color("white");
  scene.add(gltf.scene, new THREE.HemisphereLight("white", "gray", 2));
  const lamp = new THREE.DirectionalLight("white", 2);
  lamp.position.set(-1, 2, 3);
  scene.add(lamp);
  const camera = new THREE.PerspectiveCamera(view.fov, 1, 0.01, 10);
  camera.position.set(...view.position);
  camera.lookAt(...view.target);
  renderer.render(scene, camera);
};
window.found = {
  meshes: meshes.map((mesh) => ({
    name: mesh.name, triangles: mesh.geometry.index.count / 3, keys: Object.keys(mesh.morphTargetDictionary ?? {}),
    texture: mesh.material.map ? [mesh.material.map.image.width, mesh.material.map.image.height] : null,
  })),
  bones: Object.keys(bones),
};
</script></body>`;

const types = { ".js": "text/javascript", ".html": "text/html", ".glb": "model/gltf-binary" };
const server = createServer((query, answer) => {
  const path = normalize(decodeURIComponent(query.url));
  try {
    const body = path === "/" ? page_html : readFileSync(path === "/avatar.glb" ? request.glb : join(here, path));
    answer.writeHead(200, { "content-type": types[path === "/" ? ".html" : extname(path)] ?? "text/plain" }).end(body);
  } catch {
    answer.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const browser = await chromium.launch({
  executablePath: request.chromium,
  // A processor draws: test machines have no graphics card, and containers no sandbox of their own.
  args: ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"],
});
try {
  const page = await browser.newPage({ viewport: { width: request.size, height: request.size } });
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !message.text().includes("GPU stall due to ReadPixels"))
      complaints.push(message.text());
  });
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => window.found, null, { timeout: 60000 }).catch((problem) => {
    throw new Error([...complaints, problem].join("\n"));
  });
  for (const view of request.views) {
    await page.evaluate((view) => window.draw(view), { keys: {}, bones: {}, unlit: false, ...view });
    await page.screenshot({ path: view.png });
  }
  console.log(JSON.stringify({ ...(await page.evaluate(() => window.found)), complaints }));
} finally {
  await browser.close();
  server.close();
}
