// stamp FILE [-l SOCKET] COMMAND...: waits until it has been put into a cgroup of the benchmark, so that
// all that COMMAND does is counted, writes CLOCK_MONOTONIC milliseconds to FILE and becomes COMMAND.
// With -l it first listens on a unix socket and hands it on as sd_listen_fds(3) says, as the socket
// unit of a program does.
#define _GNU_SOURCE
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void listen_on(const char *path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof at.sun_path) errx(2, "%s: too long", path);
  strcpy(at.sun_path, path);
  unlink(path);
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  if (s < 0 || bind(s, (void *)&at, sizeof at) || listen(s, 128)) err(1, "%s", path);
  // The helper looks at who connects; systemd would give the socket to the controller's user.
  if (chmod(path, 0666)) err(1, "chmod %s", path);
  if (s != 3 && (dup2(s, 3) < 0 || close(s))) err(1, "dup2");
  char pid[16];
  snprintf(pid, sizeof pid, "%d", getpid());
  if (setenv("LISTEN_PID", pid, 1) || setenv("LISTEN_FDS", "1", 1)) err(1, "setenv");
}

static int is_counted(void) {
  char text[4096];
  FILE *file = fopen("/proc/self/cgroup", "r");
  if (!file) err(1, "/proc/self/cgroup");
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  return strstr(text, "/mnm-bench-") != NULL;
}

int main(int argc, char **argv) {
  int command = argc > 3 && strcmp(argv[2], "-l") == 0 ? 4 : 2;
  if (argc <= command) errx(2, "Usage: stamp FILE [-l SOCKET] COMMAND...");
  // First: it needs descriptor 3.
  if (command == 4) listen_on(argv[3]);
  FILE *file = fopen(argv[1], "w");
  if (!file) err(1, "%s", argv[1]);
  while (!is_counted()) usleep(200);
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  fprintf(file, "%.4f\n", t.tv_sec * 1e3 + t.tv_nsec / 1e6);
  fclose(file);
  execvp(argv[command], argv + command);
  err(127, "%s", argv[command]);
}
