import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { onDisposableMachine } from "../lab/disposable-machine.js";
import { REPOSITORY } from "../lab/identity.js";
import { must, run } from "../lab/run.js";
import { build, PROGRAMS, runInstalled, scratchFolder, VERSION, versions } from "./package-rig.js";

const scratch = scratchFolder();
const root = join(scratch.path, "root");
const control = join(scratch.path, "control");
const lib = join(root, "usr/lib/mnm");
let deb: string;

before(async () => {
  deb = await build("deb", "--if-stale");
  await must("dpkg-deb", ["-x", deb, root]);
  await must("dpkg-deb", ["-e", deb, control]);
});
after(() => scratch[Symbol.dispose]());

describe("what is in the Debian package", () => {
  test("its name, version and architecture agree", async () => {
    const fields = ["Package", "Version", "Architecture"];
    const said = await must("dpkg-deb", ["-W", `--showformat=\${${fields.join("}_${")}}`, deb]);
    assert.equal(said, `mnm_${VERSION}_${process.arch === "x64" ? "amd64" : "arm64"}`);
    assert.ok(deb.endsWith(`/dist/deb/${said}.deb`), deb);
  });

  test("everything is root's, and only what runs may be executed", async () => {
    const list = await must("sh", [
      "-c",
      'dpkg-deb --fsys-tarfile "$1" | tar tv --numeric-owner',
      "sh",
      deb,
    ]);
    const executable: string[] = [];
    for (const line of list.trim().split("\n")) {
      const [mode = "", owner, , , , path = ""] = line.split(/\s+/);
      assert.equal(owner, "0/0", line);
      assert.match(mode, /^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx)$/, line);
      if (mode === "-rwxr-xr-x") executable.push(path);
    }
    assert.deepEqual(executable.toSorted(), [
      "./usr/lib/mnm/mnm-controller.js",
      "./usr/lib/mnm/mnm-helper",
      "./usr/lib/mnm/mnm-helper.js",
      "./usr/lib/mnm/mnmctl.js",
      "./usr/lib/mnm/restart-keeping-uplinks",
      "./usr/lib/mnm/write-code-cache",
      "./usr/share/doc/mnm/examples/subscriber.sh",
    ]);
  });

  test("what the administrator may change is a conffile", () => {
    const conffiles = readFileSync(join(control, "conffiles"), "utf8");
    assert.equal(conffiles, "/etc/iproute2/rt_protos.d/mnm.conf\n/etc/mnm/mnm.yaml\n");
  });

  test("as installed the configuration is right and takes no link", async () => {
    const { code, stdout } = await runInstalled(
      lib,
      "mnmctl",
      "check",
      join(root, "etc/mnm/mnm.yaml"),
    );
    assert.equal(code, 0, stdout);
    assert.match(stdout, /other links +left alone/);
  });

  test("every unit of the source is in it, and names programs that are", () => {
    const units = join(root, "usr/lib/systemd/system");
    const source = readdirSync(join(REPOSITORY, "systemd")).filter((name) =>
      name.startsWith("mnm-"),
    );
    assert.deepEqual(readdirSync(units).toSorted(), source.toSorted());
    const text = units.concat(...source.map((name) => readFileSync(join(units, name), "utf8")));
    const named = [...text.matchAll(/\/usr\/lib\/mnm\/(\S+)/g)].map(([, name = ""]) => name);
    assert.ok(named.length >= 2);
    for (const name of named) assert.ok(readdirSync(lib).includes(name), name);
  });

  test("every manual page of the source is in it", () => {
    const man = join(root, "usr/share/man");
    const pages = readdirSync(join(REPOSITORY, "docs/man"));
    for (const page of pages) {
      const packed = readFileSync(join(man, `man${page.at(-1)}`, `${page}.gz`));
      const source = readFileSync(join(REPOSITORY, "docs/man", page));
      assert.ok(gunzipSync(packed).equals(source), page);
    }
  });

  test("the C libraries that it asks for have what the native parts use", async () => {
    const depends = await must("dpkg-deb", ["-f", deb, "Depends"]);
    const [, promised = ""] = /libc6 \(>= 2\.(\d+)\)/.exec(depends) ?? [];
    const files = readdirSync(lib, { recursive: true, encoding: "utf8" });
    const native = files.filter((name) => name.endsWith(".node"));
    assert.equal(native.length, 2, native.join());
    const used = native.flatMap((name) => {
      const text = readFileSync(join(lib, name), "latin1");
      return [...text.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
    });
    assert.ok(Math.max(...used) <= Number(promised), `uses 2.${Math.max(...used)}`);
  });

  test("the programs run from where it was unpacked, without the source beside them", async () => {
    assert.deepEqual(
      await versions(lib),
      PROGRAMS.map((name) => `${name} ${VERSION}`),
    );
  });

  test("so do the parts that stay outside of the bundles", async () => {
    const script = `
      const koffi = require("koffi");
      const getpid = koffi.load(null).func("int getpid()");
      const { ReflectionService } = require("@grpc/reflection");
      require("@grpc/proto-loader").loadFileDescriptorSetFromBuffer(Buffer.alloc(0));
      const services = [];
      new ReflectionService({}).addToServer({ addService: (one) => services.push(one) });
      const socket = require("netlink").createRtNetlink();
      socket.getLinks().then((links) => {
        console.log(getpid() === process.pid, services.length, links.some((l) => l.attrs.ifname === "lo"));
        socket.socket.close();
      });`;
    writeFileSync(join(lib, "parts.js"), script);
    const { stdout, stderr } = await runInstalled(lib, "parts");
    assert.equal(stdout, "true 2 true\n", stderr);
  });

  test("two builds are the same, byte for byte", async () => {
    const other = join(scratch.path, "again");
    const script = join(REPOSITORY, "scripts/package/deb.mjs");
    const shell = 'umask 077; TZ=Asia/Tokyo LC_ALL=C "$0" "$1" --output "$2"';
    const again = await must("sh", ["-c", shell, process.execPath, script, other]);
    assert.ok(readFileSync(again.trim()).equals(readFileSync(deb)));
  });
});

describe("the code cache", () => {
  test("of another build is not used, though V8 would take it", async () => {
    const file = join(lib, "mnmctl.bundle.js");
    const text = readFileSync(file, "utf8");
    const shown = async () =>
      (await runInstalled(lib, "mnmctl", "--version")).stdout.split(/\s+/)[1];
    await must(join(lib, "write-code-cache"), [process.execPath]);
    const changed = text.replace(`"${VERSION}"`, `"${VERSION.replaceAll(/\d/g, "9")}"`);
    assert.notEqual(changed, text);
    writeFileSync(file, changed);
    assert.equal(await shown(), VERSION, "the cache was not in use: nothing is shown here");
    writeFileSync(file, changed.replace(/^\/\/.{64}/, `//${"0".repeat(64)}`));
    assert.equal(await shown(), VERSION.replaceAll(/\d/g, "9"));
  });
});

describe("the scripts of the Debian package", () => {
  for (const name of ["postinst", "prerm", "postrm"]) {
    test(`${name} is sh`, async () => {
      const { code, stderr } = await run("sh", ["-n", join(control, name)]);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    });
  }

  // --force-depends: Node of the machine that tests need not be a package.
  const DPKG = "dpkg --force-depends --path-exclude=/usr/share/man/*";

  test("install, upgrade, another Node, removal and purge, each twice", {
    timeout: 300_000,
  }, async () => {
    const script = `
      cp "$1" /mnm.deb
      say() { echo "== $*"; }
      ${DPKG} -i /mnm.deb >/dev/null
      say users: $(getent passwd mnm mnm-helper | cut -d: -f1,7) $(getent group mnm-admin | cut -d: -f1)
      say enabled: $(find /etc/systemd/system -name 'mnm-*' | sort)
      say caches: $(cd /usr/lib/mnm && ls *.cache)
      say runs: $(mnm-helper --version), $(mnm-controller --version)
      echo "# mine" >>/etc/mnm/mnm.yaml
      rm -r /etc/systemd/system/multi-user.target.wants/mnm-controller.service
      ${DPKG} -i /mnm.deb >/dev/null
      ${DPKG} -i /mnm.deb >/dev/null
      say kept: $(tail -n 1 /etc/mnm/mnm.yaml)
      say still disabled: $(find /etc/systemd/system -name 'mnm-controller*')
      rm /usr/lib/mnm/*.cache
      /var/lib/dpkg/info/mnm.postinst triggered /usr/bin/node
      say caches: $(cd /usr/lib/mnm && ls *.cache)
      mkdir -p /var/lib/mnm/leases
      touch /var/lib/mnm/state.json /etc/mnm/helper.json
      ${DPKG} -r mnm >/dev/null
      say removed: $(find /usr /etc /var/lib/mnm -xdev -path '*mnm*' -newer /mnm.deb | sort)
      /var/lib/dpkg/info/mnm.postrm remove
      ${DPKG} -P mnm >/dev/null
      ${DPKG} -P mnm 2>/dev/null
      say purged: $(find /usr /etc /var -xdev -path '*mnm*' -newer /mnm.deb | sort)`;
    const { code, stdout, stderr } = await onDisposableMachine(script, [deb]);
    assert.equal(code, 0, stderr);
    const said = stdout.split("\n").filter((line) => line.startsWith("== "));
    const caches = "== caches: mnm-controller.cache mnm-helper.cache mnmctl.cache";
    // What is enabled stays so until a purge, as Debian has it.
    assert.deepEqual(said, [
      "== users: mnm:/usr/sbin/nologin mnm-helper:/usr/sbin/nologin mnm-admin",
      "== enabled: /etc/systemd/system/multi-user.target.wants/mnm-controller.service /etc/systemd/system/sockets.target.wants/mnm-helper.socket",
      caches,
      `== runs: mnm-helper ${VERSION}, mnm-controller ${VERSION}`,
      "== kept: # mine",
      "== still disabled:",
      caches,
      "== removed: /etc/mnm /etc/mnm/helper.json /etc/mnm/mnm.yaml /etc/systemd/system/sockets.target.wants/mnm-helper.socket /var/lib/mnm /var/lib/mnm/leases /var/lib/mnm/state.json",
      "== purged:",
    ]);
  });

  test("purge takes what carries protocol 77 out of the kernel, and nothing else", async () => {
    // systemd's folder: postrm leaves the kernel alone in a chroot. Addresses by perl, because
    // ip(8) of Debian 12 cannot mark them.
    const script = `
      mkdir -p /run/systemd/system
      ip link set lo up
      ip link add wan0 index 77 type veth peer name isp0
      ip link set wan0 up
      ip link set isp0 up
      cat >/add-address.pl <<'PERL'
socket(my $netlink, 16, 3, 0) or die;
for (@ARGV) {
  my ($address, $protocol) = split "/";
  my $four = pack("C4", split /[.]/, $address);
  my $body = pack("CCCCL", 2, 24, 0, 0, 77) . pack("SS", 8, 2) . $four . pack("SS", 8, 1) . $four
    . pack("SSCx3", 5, 11, $protocol);
  send $netlink, pack("LSSLL", 16 + length $body, 20, 0x605, 1, 0) . $body, 0;
  recv $netlink, my $answer, 4096, 0;
  die if unpack "x16l", $answer;
}
PERL
      perl /add-address.pl 192.0.2.7/77 198.51.100.7/76 192.0.2.8/77
      for protocol in 76 77; do
        ip route add default via 192.0.2.1 proto $protocol metric $protocol
        ip route add default via 192.0.2.1 dev wan0 proto $protocol table 77$protocol
        ip route add unreachable 203.0.113.0/24 proto $protocol metric $protocol
      done
      for protocol in 76 77; do
        ip rule add from 192.0.2.7 lookup 77$protocol priority 100$protocol proto $protocol
        ip rule add oif wan0 unreachable priority 105$protocol proto $protocol
      done
      # Too many to come in one piece.
      seq 1 250 | sed 's|.*|route add unreachable 198.51.100.& table 7701 proto 77|' | ip -batch -
      sh "$1/postrm" purge
      echo "rules $(ip rule | grep -c 'proto 77\\|proto mnm') $(ip rule | grep -c 'proto 76')"
      echo "routes $(ip route show table all proto 77 | wc -l) $(ip route show table all proto 76 | wc -l)"
      ip -4 -brief address show dev wan0 | sed 's/.* UP *//'`;
    const { stdout, stderr } = await onDisposableMachine(script, [control]);
    assert.equal(stdout, "rules 0 2\nroutes 0 3\n198.51.100.7/24 \n", stderr);
  });
});
