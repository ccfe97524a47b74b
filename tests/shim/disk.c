/*
 * A disk that can be cut from its power, and one that fails, for programs under test (LD_PRELOAD).
 *
 * kill -9 takes nothing from the kernel, so it cannot show what a missing fsync would have lost.
 * This stands between a program and its files in one folder and keeps, beside that folder, what a
 * disk would hold: an image of each file as of its last fsync, and the list of what happened to
 * names. After the program was killed, `posthouse_tests::disk` makes of both what might be found
 * once the power is back. Nothing is really synced: that would only cost time.
 *
 * Beside it also lies a page of counters, shared with the test, by which calls are made to fail:
 * without room, with an I/O error, on a read-only disk. A failed fsync behaves as Linux's does: what
 * was to be written is taken for clean afterwards, and no later fsync writes it. An fsync may also
 * do nothing and say that it was done.
 *
 * Files whose name ends in "-shm" are memory, not disk: they are left alone. One program at a time
 * writes to the folder; one that starts begins anew with what it finds.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The system's own calls: what happens in here must not come back here. */
#define SYS_OPEN(path, flags, mode) ((int)syscall(SYS_openat, AT_FDCWD, path, flags, mode))
#define SYS_CLOSE(fd) ((void)syscall(SYS_close, fd))

enum { MAX_FILES = 4096, COPY = 1 << 16 };

/* What the test asks for, and what it is told. `posthouse_tests::disk` has the same list. */
struct control {
    uint64_t faults;   /* which calls fail: the bits below */
    uint64_t after;    /* so many of those calls succeed first */
    uint64_t count;    /* so many fail, then no more; 0: all */
    uint64_t injected; /* so many have failed */
    uint64_t writes;   /* so many writes were seen */
    uint64_t syncs;    /* so many fsyncs were seen */
};

enum { WRITE_FULL = 1, WRITE_ERROR = 2, SYNC_ERROR = 4, READ_ONLY = 8, SYNC_LIE = 16 };

struct range {
    off_t from, to;
};

/* A file of the folder. */
struct file {
    dev_t dev;
    ino_t ino;
    int id;           /* the name of its image */
    int image;        /* the image's descriptor */
    off_t least;      /* the smallest that it was since its last fsync */
    int whole;        /* all of it may have changed */
    struct range *dirty;
    size_t count, room;
};

static struct file files[MAX_FILES];
static size_t file_count;
static int next_id;
static char folder[PATH_MAX], side[PATH_MAX];
static size_t folder_length;
static int names = -1;
static struct control none, *control = &none;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void give_up(const char *what) {
    dprintf(2, "tests/shim/disk.c: %s: %s\n", what, strerror(errno));
    abort();
}

static int is_shared_memory(const char *path) {
    size_t length = strlen(path);
    return length >= 4 && strcmp(path + length - 4, "-shm") == 0;
}

/* The path from the root if it is below the folder, else 0. The last part need not be there. */
static int below(int at, const char *path, char *out) {
    char start[PATH_MAX], real[PATH_MAX];
    if (folder_length == 0 || path == NULL || path[0] == '\0') return 0;
    if (path[0] == '/' || at == AT_FDCWD) {
        snprintf(start, sizeof start, "%s", path);
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t length = readlink(link, real, sizeof real - 1);
        if (length < 0) return 0;
        real[length] = '\0';
        if (snprintf(start, sizeof start, "%s/%s", real, path) >= (int)sizeof start) return 0;
    }
    char *slash = strrchr(start, '/');
    const char *last = slash ? slash + 1 : start;
    char parent[PATH_MAX];
    if (slash == NULL) {
        strcpy(parent, ".");
    } else {
        snprintf(parent, sizeof parent, "%.*s", (int)(slash - start), start);
        if (parent[0] == '\0') strcpy(parent, "/");
    }
    if (realpath(parent, real) == NULL) return 0;
    if (snprintf(out, PATH_MAX, "%s/%s", real, last) >= PATH_MAX) return 0;
    return strncmp(out, folder, folder_length) == 0 && out[folder_length] == '/' && !is_shared_memory(out);
}

static void note(const char *line) {
    if (syscall(SYS_write, names, line, strlen(line)) < 0) give_up("names");
}

static struct file *find(const struct stat *about) {
    for (size_t at = 0; at < file_count; at++)
        if (files[at].ino == about->st_ino && files[at].dev == about->st_dev) return &files[at];
    return NULL;
}

/* The file of a descriptor, if it is one of the folder's. */
static struct file *file_of(int fd) {
    struct stat about;
    if (file_count == 0 || fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) return NULL;
    return find(&about);
}

static void forget(const struct stat *about) {
    struct file *file = find(about);
    if (file == NULL) return;
    SYS_CLOSE(file->image);
    free(file->dirty);
    *file = files[--file_count];
}

static struct file *add(const struct stat *about, const char *path, char kind) {
    char line[PATH_MAX + 32], image[PATH_MAX + 32];
    if (file_count == MAX_FILES) { errno = ENFILE; give_up("too many files"); }
    struct file *file = &files[file_count++];
    memset(file, 0, sizeof *file);
    file->dev = about->st_dev;
    file->ino = about->st_ino;
    file->id = next_id++;
    snprintf(image, sizeof image, "%s/image-%d", side, file->id);
    file->image = SYS_OPEN(image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file->image < 0) give_up(image);
    snprintf(line, sizeof line, "%c\t%d\t%s\n", kind, file->id, path);
    note(line);
    return file;
}

static void copy(int from, int to, off_t at, off_t end) {
    static char buffer[COPY];
    while (at < end) {
        size_t wanted = end - at < COPY ? (size_t)(end - at) : COPY;
        ssize_t got = syscall(SYS_pread64, from, buffer, wanted, at);
        if (got < 0) give_up("reading back");
        if (got == 0) return;
        if (syscall(SYS_pwrite64, to, buffer, got, at) != got) give_up("writing an image");
        at += got;
    }
}

/* What is in the file now is on the disk. */
static void settle(struct file *file, int fd) {
    struct stat about;
    if (fstat(fd, &about) != 0) give_up("fstat");
    int reader = fd;
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        reader = SYS_OPEN(path, O_RDONLY | O_CLOEXEC, 0);
        if (reader < 0) give_up(path);
    }
    if (file->least < about.st_size && syscall(SYS_ftruncate, file->image, file->least) != 0)
        give_up("an image");
    if (syscall(SYS_ftruncate, file->image, about.st_size) != 0) give_up("an image");
    if (file->whole) copy(reader, file->image, 0, about.st_size);
    else for (size_t at = 0; at < file->count; at++)
        copy(reader, file->image, file->dirty[at].from, file->dirty[at].to);
    if (reader != fd) SYS_CLOSE(reader);
    file->least = about.st_size;
    file->whole = 0;
    file->count = 0;
}

static void dirty(struct file *file, off_t from, off_t to) {
    struct range *last = file->count ? &file->dirty[file->count - 1] : NULL;
    if (last && from >= last->from && from <= last->to) {
        if (to > last->to) last->to = to;
        return;
    }
    if (file->count == file->room) {
        file->room = file->room ? 2 * file->room : 16;
        file->dirty = realloc(file->dirty, file->room * sizeof *file->dirty);
        if (file->dirty == NULL) give_up("memory");
    }
    file->dirty[file->count++] = (struct range){from, to};
}

/* Whether this call is to fail, and with which error. */
static int fault(uint64_t kinds) {
    uint64_t wanted = __atomic_load_n(&control->faults, __ATOMIC_ACQUIRE) & kinds;
    if (wanted == 0) return 0;
    if (control->after > 0) { control->after--; return 0; }
    if (control->count > 0 && --control->count == 0) control->faults = 0;
    control->injected++;
    if (wanted & READ_ONLY) return EROFS;
    return wanted & WRITE_FULL ? ENOSPC : EIO;
}

static int write_fault(int fd) {
    int error = 0;
    pthread_mutex_lock(&lock);
    if (file_of(fd) != NULL) {
        control->writes++;
        error = fault(WRITE_FULL | WRITE_ERROR | READ_ONLY);
    }
    pthread_mutex_unlock(&lock);
    return error;
}

static void wrote(int fd, off_t from, ssize_t length) {
    if (length <= 0) return;
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd);
    if (file != NULL) dirty(file, from, from + length);
    pthread_mutex_unlock(&lock);
}

static void changed_whole(int fd) {
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd);
    if (file != NULL) file->whole = 1;
    pthread_mutex_unlock(&lock);
}

static int sync_it(int fd) {
    struct stat about;
    if (fstat(fd, &about) != 0) return -1;
    int error = 0;
    pthread_mutex_lock(&lock);
    if (S_ISDIR(about.st_mode)) {
        char link[64], path[PATH_MAX], line[PATH_MAX + 8];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0 && names >= 0) {
            path[length] = '\0';
            snprintf(line, sizeof line, "S\t%s\n", path);
            note(line);
        }
    } else {
        struct file *file = file_of(fd);
        if (file != NULL) {
            control->syncs++;
            int lies = (__atomic_load_n(&control->faults, __ATOMIC_ACQUIRE) & SYNC_LIE) != 0;
            error = fault(SYNC_ERROR);
            if (lies) control->injected++;
            else if (error == 0) settle(file, fd);
            else { file->count = 0; file->whole = 0; }
        }
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return error ? -1 : 0;
}

/* Files that are there at the start are on the disk. */
static void begin_with(const char *path) {
    DIR *open = opendir(path);
    if (open == NULL) give_up(path);
    for (struct dirent *entry; (entry = readdir(open)) != NULL;) {
        char inner[PATH_MAX];
        struct stat about;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) >= PATH_MAX) continue;
        if (lstat(inner, &about) != 0) give_up(inner);
        if (S_ISDIR(about.st_mode)) begin_with(inner);
        if (!S_ISREG(about.st_mode) || is_shared_memory(inner)) continue;
        struct file *file = add(&about, inner, 'N');
        int fd = SYS_OPEN(inner, O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0) give_up(inner);
        file->whole = 1;
        settle(file, fd);
        SYS_CLOSE(fd);
    }
    closedir(open);
}

__attribute__((constructor)) static void begin(void) {
    const char *watched = getenv("POSTHOUSE_DISK_FOLDER"), *beside = getenv("POSTHOUSE_DISK_SIDE");
    if (watched == NULL || beside == NULL) return;
    char path[PATH_MAX + 16];
    if (realpath(watched, folder) == NULL) give_up(watched);
    if (realpath(beside, side) == NULL) give_up(beside);
    snprintf(path, sizeof path, "%s/names", side);
    names = SYS_OPEN(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (names < 0) give_up(path);
    snprintf(path, sizeof path, "%s/control", side);
    int fd = SYS_OPEN(path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) give_up(path);
    void *page = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) give_up(path);
    control = page;
    SYS_CLOSE(fd);
    begin_with(folder);
    folder_length = strlen(folder);
}

/* ---- opening ---- */

static int open_it(int at, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    if (!below(at, path, full)) return (int)syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat about;
    int there = lstat(full, &about) == 0;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    int is_folder = (there && S_ISDIR(about.st_mode)) || (flags & O_TMPFILE) == O_TMPFILE;
    int fd = -1, error = 0;
    if (writes && !is_folder) error = fault(there ? READ_ONLY : READ_ONLY | WRITE_FULL);
    if (error != 0) errno = error;
    else fd = (int)syscall(SYS_openat, at, path, flags, mode);
    error = errno;
    if (fd >= 0 && !is_folder && fstat(fd, &about) == 0 && S_ISREG(about.st_mode)) {
        struct file *file = find(&about);
        if (file != NULL && !there) { forget(&about); file = NULL; }
        if (file == NULL) add(&about, full, 'C');
        else if (flags & O_TRUNC) file->least = 0;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags)                                          \
    mode_t mode = 0;                                         \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) { \
        va_list list;                                        \
        va_start(list, flags);                               \
        mode = va_arg(list, mode_t);                         \
        va_end(list);                                        \
    }

int open(const char *path, int flags, ...) { MODE(flags) return open_it(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_it(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return open_it(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return open_it(at, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_it(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_it(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* ---- writing ---- */

#define REFUSE(fd)                                 \
    do {                                           \
        int refused = write_fault(fd);             \
        if (refused) { errno = refused; return -1; } \
    } while (0)

/* Writes at the descriptor's own place end where that is afterwards. */
static ssize_t wrote_here(int fd, ssize_t done) {
    int error = errno;
    if (done > 0) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        if (end >= done) wrote(fd, end - done, done);
    }
    errno = error;
    return done;
}

ssize_t write(int fd, const void *data, size_t length) {
    REFUSE(fd);
    return wrote_here(fd, syscall(SYS_write, fd, data, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REFUSE(fd);
    return wrote_here(fd, syscall(SYS_writev, fd, parts, count));
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    REFUSE(fd);
    ssize_t done = syscall(SYS_pwrite64, fd, data, length, at);
    int error = errno;
    wrote(fd, at, done);
    errno = error;
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return pwrite64(fd, data, length, at); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    REFUSE(fd);
    ssize_t done = syscall(SYS_pwritev, fd, parts, count, at, 0);
    int error = errno;
    wrote(fd, at, done);
    errno = error;
    return done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return pwritev64(fd, parts, count, at); }

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t length, unsigned flags) {
    REFUSE(out);
    ssize_t done = syscall(SYS_copy_file_range, in, in_at, out, out_at, length, flags);
    changed_whole(out);
    return done;
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t length) {
    REFUSE(out);
    ssize_t done = syscall(SYS_sendfile, out, in, at, length);
    changed_whole(out);
    return done;
}

ssize_t sendfile(int out, int in, off_t *at, size_t length) { return sendfile64(out, in, at, length); }

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    REFUSE(fd);
    int done = (int)syscall(SYS_fallocate, fd, mode, at, length);
    changed_whole(fd);
    return done;
}

int fallocate(int fd, int mode, off_t at, off_t length) { return fallocate64(fd, mode, at, length); }

int posix_fallocate64(int fd, off64_t at, off64_t length) { return fallocate64(fd, 0, at, length) == 0 ? 0 : errno; }
int posix_fallocate(int fd, off_t at, off_t length) { return posix_fallocate64(fd, at, length); }

int ftruncate64(int fd, off64_t length) {
    REFUSE(fd);
    int done = (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    struct file *file = done == 0 ? file_of(fd) : NULL;
    if (file != NULL && length < file->least) file->least = length;
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int truncate64(const char *path, off64_t length) {
    int fd = open_it(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int done = ftruncate64(fd, length), error = errno;
    SYS_CLOSE(fd);
    errno = error;
    return done;
}

int truncate(const char *path, off_t length) { return truncate64(path, length); }

int fsync(int fd) { return sync_it(fd); }
int fdatasync(int fd) { return sync_it(fd); }

/* ---- names ---- */

int unlinkat(int at, const char *path, int flags) {
    char full[PATH_MAX], line[PATH_MAX + 8];
    if ((flags & AT_REMOVEDIR) || !below(at, path, full)) return (int)syscall(SYS_unlinkat, at, path, flags);
    pthread_mutex_lock(&lock);
    struct stat about;
    int there = lstat(full, &about) == 0, error = there ? fault(READ_ONLY) : 0, done = -1;
    if (error != 0) errno = error;
    else done = (int)syscall(SYS_unlinkat, at, path, flags);
    error = errno;
    if (done == 0 && there) {
        snprintf(line, sizeof line, "U\t%s\n", full);
        note(line);
        if (about.st_nlink <= 1) forget(&about);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char old[PATH_MAX], new[PATH_MAX], line[2 * PATH_MAX + 8];
    int leaves = below(from_at, from, old), comes = below(to_at, to, new);
    if (leaves != comes) { errno = EXDEV; return -1; } /* as if it were a disk of its own */
    if (!leaves) return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    pthread_mutex_lock(&lock);
    struct stat about;
    int replaces = lstat(new, &about) == 0 && S_ISREG(about.st_mode), error = fault(READ_ONLY), done = -1;
    if (error != 0) errno = error;
    else done = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    error = errno;
    if (done == 0) {
        snprintf(line, sizeof line, "R\t%s\t%s\n", old, new);
        note(line);
        if (replaces && about.st_nlink <= 1) forget(&about);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_at, const char *from, int to_at, const char *to) { return renameat2(from_at, from, to_at, to, 0); }
