/* The speed of another program in the same run: a Python script that times the same sizes and prints one JSON line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/store/json.h"

enum { ANSWER = 1 << 16, MAX_SECONDS = 600 };

/* In the child. Does not return; the alarm outlives the exec. */
static void become(const bench *b, const char *const *arguments, uint64_t count, int out)
{
    const char *list[BENCH_PEER_ARGUMENTS + 6] = {"python3", b->options->peer};
    char threads[16];

    snprintf(threads, sizeof threads, "%d", b->threads);
    for (uint64_t i = 0; i < count && i < BENCH_PEER_ARGUMENTS; i++)
        list[2 + i] = arguments[i];
    list[2 + count] = "--threads";
    list[3 + count] = threads;
    alarm(MAX_SECONDS);
    if (dup2(out, STDOUT_FILENO) >= 0)
        execvp("python3", (char *const *)(uintptr_t)list);
    _exit(127);
}

static uint64_t read_answer(int from, char *text)
{
    uint64_t length = 0;
    ssize_t got;

    do {
        got = read(from, text + length, ANSWER - length);
        length += got > 0 ? (uint64_t)got : 0;
    } while (length < ANSWER && (got > 0 || (got < 0 && errno == EINTR)));
    return length;
}

sd_status bench_peer(bench *b, const char *what, const char *const *arguments, uint64_t count, double tokens_per_s)
{
    const char *file = b->options->peer, *torch;
    char *text = NULL, rate[32];
    double peer;
    uint64_t length;
    sd_json *json = NULL;
    int ends[2], code = 0;
    pid_t child;
    sd_status st;

    if (file == NULL || b->par->rank != 0)
        return SD_OK;
    if (b->par->size > 1) {
        sd_warn("--peer: %s is run with one rank only, since other ranks would occupy its cores", file);
        return SD_OK;
    }
    if (access(file, R_OK) != 0)
        return SD_FAIL(SD_E_USAGE, "--peer: %s cannot be read: %s", file, strerror(errno));
    SD_TRY(st, SD_NEW(&text, ANSWER + 1));
    fflush(stdout);
    if (pipe(ends) != 0)
        return SD_FAIL(SD_E_ENV, "%s: a pipe could not be created: %s", file, strerror(errno));
    child = fork();
    if (child == 0)
        become(b, arguments, count, ends[1]);
    close(ends[1]);
    length = child > 0 ? read_answer(ends[0], text) : 0;
    close(ends[0]);
    while (child > 0 && waitpid(child, &code, 0) < 0 && errno == EINTR)
        ;
    if (child < 0 || !WIFEXITED(code) || WEXITSTATUS(code) != 0) {
        sd_warn("--peer: python3 %s %s failed; does this python3 have torch?", file, arguments[0]);
        goto out;
    }
    SD_TRY(st, sd_json_parse(&json, file, text, length));
    SD_TRY(st, sd_json_f64_or(json, json->root, "tokens_per_s", 0, &peer));
    SD_TRY(st, sd_json_text_or(json, json->root, "torch", "", &torch));
    if (!(peer > 0)) {
        st = SD_FAIL(SD_E_DATA, "--peer: %s %s did not print tokens_per_s above 0", file, arguments[0]);
        goto out;
    }
    printf("%-8s %s%s, same sizes and threads: %s tokens/s; saediff is %.2f times as fast\n", what, torch[0] ? "PyTorch " : "the peer", torch,
           sd_str_count(rate, sizeof rate, peer), tokens_per_s / peer);
out:
    sd_json_close(&json);
    sd_free(text);
    return st;
}
