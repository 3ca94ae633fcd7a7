// The guest of vm_test.cc: /init of a test VM. Echoes what it reads from the portal, and obeys a few letters.
//   Q power off    D answer with the first 8 bytes of the disk    W write "written!" there    P panic    H hang, burning CPU
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <unistd.h>

int main() {
  mount("dev", "/dev", "devtmpfs", 0, nullptr);
  const int console = open("/dev/console", O_RDWR);
  const int portal = open("/dev/vport0p1", O_RDWR);
  const int disk = open("/dev/vda", O_RDWR | O_DSYNC);
  constexpr char kReady[] = "TEST GUEST READY\n";
  if (portal < 0 || write(console, kReady, sizeof kReady - 1) < 0) return 1;
  char block[8];
  for (char c; read(portal, &c, 1) >= 0;) {
    switch (c) {
      case 'Q':
        reboot(RB_POWER_OFF);
        break;
      case 'D':
        if (pread(disk, block, sizeof block, 0) < 0) return 1;
        if (write(portal, block, sizeof block) < 0) return 1;
        break;
      case 'W':
        if (pwrite(disk, "written!", sizeof block, 0) < 0) return 1;
        if (write(portal, "ok", 2) < 0) return 1;
        break;
      case 'P':
        return 0;
      case 'H':
        for (;;) __asm__ volatile("");
      default:
        if (write(portal, &c, 1) < 0) return 1;
    }
  }
}
