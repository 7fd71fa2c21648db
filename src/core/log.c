#include "saediff/core/log.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "saediff/core/str.h"

static struct {
    bool enabled, quiet, terminal, bar;
    FILE *file;
    double began;
} log_state = {.enabled = true};

double sd_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

sd_status sd_log_open(const sd_log_spec *spec)
{
    log_state.enabled = spec->enabled;
    log_state.quiet = spec->quiet;
    log_state.terminal = isatty(STDERR_FILENO) == 1;
    log_state.began = sd_now();
    if (spec->enabled && spec->path != NULL) {
        log_state.file = fopen(spec->path, "a");
        if (log_state.file == NULL)
            return SD_FAIL(SD_E_ENV, "%s: the log cannot be opened for appending: %s", spec->path,
                           strerror(errno));
    }
    return SD_OK;
}

void sd_log_close(void)
{
    if (log_state.file != NULL)
        fclose(log_state.file);
    log_state.file = NULL;
}

static void clear_bar(void)
{
    if (log_state.bar)
        fputs("\r\033[K", stderr);
    log_state.bar = false;
}

static void write_json(const char *level, const char *text)
{
    if (log_state.file == NULL)
        return;
    fprintf(log_state.file, "{\"seconds\": %.3f, \"level\": \"%s\", \"text\": \"", sd_now() - log_state.began,
            level);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(log_state.file, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(log_state.file, "\\u%04x", *c);
        else
            fputc(*c, log_state.file);
    }
    fputs("\"}\n", log_state.file);
    fflush(log_state.file);
}

static void log_message(const char *level, const char *prefix, bool even_if_quiet, const char *format,
                        va_list args)
{
    char text[2 * SD_ERROR_TEXT];

    if (!log_state.enabled)
        return;
    vsnprintf(text, sizeof text, format, args);
    write_json(level, text);
    if (log_state.quiet && !even_if_quiet)
        return;
    clear_bar();
    fprintf(stderr, "%s%s\n", prefix, text);
}

void sd_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_message("info", "", false, format, args);
    va_end(args);
}

void sd_warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_message("warning", "warning: ", true, format, args);
    va_end(args);
}

void sd_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_message("error", "error: ", true, format, args);
    va_end(args);
}

void sd_progress_begin(sd_progress *p, const char *what, const char *unit, uint64_t done, uint64_t total)
{
    p->what = what;
    p->unit = unit;
    p->done = p->first = done;
    p->total = total;
    p->began = p->shown = sd_now();
}

static double rate_of(const sd_progress *p, double now)
{
    double seconds = now - p->began;

    return seconds > 0 ? (double)(p->done - p->first) / seconds : NAN;
}

static void print_progress(sd_progress *p, double now)
{
    enum { WIDTH = 24 };
    char bar[WIDTH + 1], rate[32], left[32];
    double share = p->total ? (double)p->done / (double)p->total : 1, per_second = rate_of(p, now);
    int full = (int)(share * WIDTH);

    sd_str_count(rate, sizeof rate, per_second);
    sd_str_seconds(left, sizeof left, (double)(p->total - p->done) / per_second);
    if (log_state.terminal) {
        memset(bar, '.', WIDTH);
        memset(bar, '#', (size_t)full);
        bar[WIDTH] = '\0';
        fprintf(stderr, "\r%-16s [%s] %3.0f %%  %s %s/s, %s left\033[K", p->what, bar, 100 * share, rate,
                p->unit, left);
        log_state.bar = true;
    } else {
        fprintf(stderr, "%-16s %3.0f %%  %s %s/s, %s left\n", p->what, 100 * share, rate, p->unit, left);
    }
}

void sd_progress_set(sd_progress *p, uint64_t done)
{
    double now = sd_now();

    p->done = done;
    if (!log_state.enabled || log_state.quiet || done == p->first ||
        now - p->shown < (log_state.terminal ? 0.1 : 10))
        return;
    p->shown = now;
    print_progress(p, now);
}

void sd_progress_end(sd_progress *p, const char *note)
{
    double now = sd_now();
    char amount[32], rate[32], took[32];

    sd_str_count(amount, sizeof amount, (double)(p->done - p->first));
    sd_str_count(rate, sizeof rate, rate_of(p, now));
    sd_str_seconds(took, sizeof took, now - p->began);
    sd_say("%-16s %s %s in %s (%s/s)%s%s", p->what, amount, p->unit, took, rate, note ? ", " : "",
           note ? note : "");
}
