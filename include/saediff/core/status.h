/* Status codes, and the error message that accompanies a failure.
 *
 * The function that detects an error writes its message, with the numbers and the remedy; callers pass the
 * status on unchanged:
 *
 *     if (rows != expected)
 *         return SD_FAIL(SD_E_DATA, "%s: tensor '%s' has %llu rows, not %llu; ...", ...);
 *
 * The message belongs to the thread that failed and lives until its next failure. */
#ifndef SAEDIFF_CORE_STATUS_H
#define SAEDIFF_CORE_STATUS_H

/* In rising severity: when ranks disagree, sd_par_agree() gives all of them the most severe code. */
typedef enum sd_status {
    SD_OK = 0,
    SD_E_STOPPED, /* stopped by a signal after saving: run it again     exit 75 */
    SD_E_USAGE,   /* command line or job file                           exit 2  */
    SD_E_DATA,    /* bad input data                                     exit 3  */
    SD_E_ENV,     /* device, MPI, disk space, permissions, memory       exit 4  */
    SD_E_INTERNAL /* a defect of this program                           exit 5  */
} sd_status;

enum {
    SD_ERROR_TEXT = 2048,
    SD_ERROR_LOCATION = 128
}; /* sizes in bytes, NUL included; longer texts are cut off */

#define SD_MUST_CHECK __attribute__((warn_unused_result))
#define SD_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Sets the error message and evaluates to `code`. */
#define SD_FAIL(code, ...) sd_fail((code), __FILE__, __LINE__, __VA_ARGS__)
/* Evaluates `expr` into `st` and jumps to the label `out` unless it is SD_OK. */
#define SD_TRY(st, expr)                                                                                     \
    do {                                                                                                     \
        if (((st) = (expr)) != SD_OK)                                                                        \
            goto out;                                                                                        \
    } while (0)

/* Local. Sets this thread's error message and its location (`file`, `line`); returns `code`. Use SD_FAIL().
 */
sd_status sd_fail(sd_status code, const char *file, int line, const char *format, ...) SD_PRINTF(4, 5);

/* Local. Sets message and location to those of an error on another rank, so that all ranks hold the same
 * ones; returns `code`. */
sd_status sd_fail_from(sd_status code, const char *location, const char *text);

/* Local. Puts "context: " before the current error message, unless `code` is SD_OK; returns `code`. Each part
 * is cut off at SD_ERROR_TEXT / 2 bytes. */
sd_status sd_fail_in(sd_status code, const char *context);

/* Local. The message of this thread's last failure, "" before the first; never NULL; valid until the next
 * failure. */
const char *sd_last_error(void);

/* Local. "file.c:123" of the last failure, or "rank 3, file.c:123" after sd_par_agree(); for logs and bug
 * reports. */
const char *sd_last_error_location(void);

/* Local. The program's exit status for `code` (0, 2, 3, 4, 5 or 75). */
int sd_exit_code(sd_status code);

#endif
