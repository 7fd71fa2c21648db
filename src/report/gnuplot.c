/* Runs gnuplot without a shell and without the user's settings, the script on its standard input. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plots.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/store/file.h"

enum { NO_PROGRAM = 127, NO_FOLDER = 126, SECONDS = 300 };

#define SCRIPT "gnuplot-script.tmp"
#define ERRORS "gnuplot-errors.tmp"

/* In the child: never returns. Only calls that are safe after fork() in a process with threads. */
static void become(const char *program, const char *folder)
{
    char *const arguments[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)"--default-settings", NULL};
    sigset_t none;
    int in, null, errors;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* Ctrl-C must not reach it: this program saves and stops */
    if (chdir(folder) != 0)
        _exit(NO_FOLDER);
    in = open(SCRIPT, O_RDONLY);
    null = open("/dev/null", O_WRONLY);
    errors = open(ERRORS, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    if (in < 0 || null < 0 || errors < 0 || dup2(in, 0) < 0 || dup2(null, 1) < 0 || dup2(errors, 2) < 0)
        _exit(NO_FOLDER);
    execvp(program, arguments);
    _exit(NO_PROGRAM);
}

/* Waits for it to exit, SECONDS at most. */
static sd_status wait_for(pid_t child, const char *program, int *code)
{
    double end = sd_now() + SECONDS;
    const struct timespec nap = {0, 5000000};
    int status;

    for (;;) {
        pid_t got = waitpid(child, &status, WNOHANG);

        if (got == child)
            break;
        if (got < 0 && errno != EINTR)
            return SD_FAIL(SD_E_ENV, "%s: waitpid() failed: %s", program, strerror(errno));
        if (sd_now() > end) {
            kill(child, SIGKILL);
            (void)waitpid(child, &status, 0);
            *code = -1;
            return SD_OK;
        }
        nanosleep(&nap, NULL);
    }
    if (!WIFEXITED(status))
        return SD_FAIL(SD_E_ENV, "%s was killed by signal %d; run again, or set report.gnuplot to \"\" for a report "
                                 "without plots", program, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    *code = WEXITSTATUS(status);
    return SD_OK;
}

static void warn(const char *program, const char *errors, int code)
{
    char *text = NULL;
    uint64_t size = 0;

    if (sd_file_read(errors, 1 << 20, &text, &size) != SD_OK)
        text = NULL;
    for (char *c = text; c != NULL && *c != '\0'; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    if (code < 0)
        sd_warn("%s did not end within %d s; the report has no plots", program, (int)SECONDS);
    else
        sd_warn("%s failed with status %d; the report has no plots: %.300s", program, code, text == NULL ? "" : text);
    sd_free(text);
}

sd_status rep_gnuplot_run(const char *program, const char *folder, const sd_str *script, rep_drawing *result)
{
    char *path = NULL, *errors = NULL;
    int code = 0;
    pid_t child;
    sd_status st;

    SD_TRY(st, script->status);
    SD_TRY(st, sd_path_join(&path, folder, SCRIPT));
    SD_TRY(st, sd_path_join(&errors, folder, ERRORS));
    SD_TRY(st, sd_file_write(path, script->text, script->length));
    child = fork();
    if (child == 0)
        become(program, folder);
    if (child < 0) {
        st = SD_FAIL(SD_E_ENV, "%s could not be started: %s", program, strerror(errno));
        goto out;
    }
    SD_TRY(st, wait_for(child, program, &code));
    *result = code == 0 ? REP_DRAWN : code == NO_PROGRAM ? REP_NO_PROGRAM : REP_DRAWING_FAILED;
    if (*result == REP_DRAWING_FAILED)
        warn(program, errors, code);
out:
    if (path != NULL && sd_file_remove(path) != SD_OK && st == SD_OK)
        st = sd_fail_in(SD_E_ENV, "after drawing");
    if (errors != NULL && sd_file_remove(errors) != SD_OK && st == SD_OK)
        st = sd_fail_in(SD_E_ENV, "after drawing");
    sd_free(path);
    sd_free(errors);
    return st;
}
