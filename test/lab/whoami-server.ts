// Runs in the inet namespace: tells every sender the address that it came from. Over TCP the
// first line is that address, and whatever follows is echoed, so that a test can hold a
// connection and see that it still works.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { SERVER, TCP_PORT, UDP_PORT } from "./addressing.js";

const udp = createSocket("udp4");
udp.on("message", (message, from) => {
  udp.send(`${from.address} ${message.toString("latin1")}`, from.port, from.address, () => {
    // A sender that is gone by now is its own business.
  });
});
udp.bind(UDP_PORT, SERVER);

const tcp = createServer((socket) => {
  socket.on("error", () => socket.destroy());
  socket.write(`${socket.remoteAddress}\n`);
  socket.pipe(socket);
});
tcp.listen(TCP_PORT, SERVER);

await Promise.all([once(udp, "listening"), once(tcp, "listening")]);
console.log("ready");
