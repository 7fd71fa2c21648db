/* Status codes and the one message that goes with a failure.
 *
 * The first to know an error words it, with the numbers; everyone above passes the
 * status on unchanged:
 *
 *     if (rows != want)
 *         return SD_FAIL(SD_E_DATA, "%s: tensor '%s' has %llu rows, not %llu; ...", ...);
 *
 * The message belongs to the thread that failed and lives until its next failure. */
#ifndef SAEDIFF_CORE_STATUS_H
#define SAEDIFF_CORE_STATUS_H

/* Ordered by weight: when ranks disagree, the heaviest is the verdict. */
typedef enum sd_status {
    SD_OK = 0,
    SD_E_STOPPED,  /* stopped by a signal after saving: submit again     exit 75 */
    SD_E_USAGE,    /* command line or job file                           exit 2  */
    SD_E_DATA,     /* bad input data                                     exit 3  */
    SD_E_ENV,      /* device, MPI, space, permissions, memory            exit 4  */
    SD_E_INTERNAL  /* a defect of this program                           exit 5  */
} sd_status;

enum { SD_ERROR_TEXT = 2048 };

#define SD_MUST_CHECK __attribute__((warn_unused_result))
#define SD_PRINTF(f, a) __attribute__((format(printf, f, a)))

#define SD_FAIL(code, ...) sd_fail((code), __FILE__, __LINE__, __VA_ARGS__)
#define SD_TRY(st, expr)                                                                                     \
    do {                                                                                                     \
        if (((st) = (expr)) != SD_OK)                                                                        \
            goto out;                                                                                        \
    } while (0)

/* Local. Words the error and returns `code`. `file` and `line` are where it was worded. */
sd_status sd_fail(sd_status code, const char *file, int line, const char *format, ...) SD_PRINTF(4, 5);

/* Local. Takes over an error that rank `rank` worded, so that all ranks hold the same text. */
sd_status sd_fail_from(sd_status code, int rank, const char *text);

/* Local. Puts "context: " before the message of the failure at hand; returns `code`. */
sd_status sd_fail_in(sd_status code, const char *context);

/* Local. The text of this thread's last failure, never NULL. */
const char *sd_last_error(void);

/* Local. "file.c:123" of the last failure on this rank, for logs and bug reports. */
const char *sd_last_error_location(void);

/* The program's exit status for `code` (0, 2, 3, 4, 5 or 75). */
int sd_exit_code(sd_status code);

#endif
