"""The columns that all of KuaiRand's versions and its samples have.

Source: the README of KuaiRand (github.com/chongminggao/KuaiRand), its tables of fields.
"""

from __future__ import annotations

from lt4rec_tf.data.public.archives import Column

UNKNOWN_USER_VALUE = -124  # what KuaiRand itself writes


def _user(name: str, description: str) -> Column:
    return Column(name, "whole", description, missing=UNKNOWN_USER_VALUE)


LOG = (
    Column("user_id", "whole", "who was shown the video"),
    Column("video_id", "whole", "the video that was shown"),
    Column("date", "whole", "day, such as 20220408"),
    Column("hourmin", "whole", "time of the day; 1700 is five in the afternoon"),
    Column("time_ms", "whole", "Unix time in milliseconds"),
    Column("is_click", "whole", "label: the video was clicked, 0 or 1"),
    Column("is_like", "whole", "label: the like button was hit, 0 or 1"),
    Column("is_follow", "whole", "label: the author was followed, 0 or 1"),
    Column("is_comment", "whole", "label: a comment was written, 0 or 1"),
    Column("is_forward", "whole", "label: the video was forwarded, 0 or 1"),
    Column("is_hate", "whole", "label: the video was disliked, 0 or 1"),
    Column("long_view", "whole", "label: played to the end, or for 18 s of a longer video; 0 or 1"),
    Column("play_time_ms", "whole", "label: milliseconds played"),
    Column("duration_ms", "whole", "length of the video in milliseconds; 0 where unknown"),
    Column("profile_stay_time", "whole", "milliseconds on the author's profile"),
    Column("comment_stay_time", "whole", "milliseconds in the comments"),
    Column("is_profile_enter", "whole", "the author's profile was entered, 0 or 1"),
    Column("is_rand", "whole", "the video was drawn at random, 0 or 1"),
    Column("tab", "whole", "where in the app: a scenario from 0 to 14"),
)

USER = (
    Column("user_active_degree", "text", "how active: full_active, high_active ...; or UNKNOWN"),
    _user("is_lowactive_period", "in a period of little use, 0 or 1"),
    _user("is_live_streamer", "streams live, 0 or 1"),
    _user("is_video_author", "has uploaded a video, 0 or 1"),
    _user("follow_user_num", "users followed"),
    Column("follow_user_num_range", "text", "users followed, a range"),
    _user("fans_user_num", "followers"),
    Column("fans_user_num_range", "text", "followers, a range"),
    _user("friend_user_num", "friends"),
    Column("friend_user_num_range", "text", "friends, a range"),
    _user("register_days", "days since registration"),
    Column("register_days_range", "text", "days since registration, a range"),
    *(_user(f"onehot_feat{number}", "an encrypted feature of the user") for number in range(18)),
)

VIDEO = (
    Column("author_id", "whole", "who made the video"),
    Column("video_type", "text", "NORMAL or AD; or UNKNOWN"),
    Column("upload_dt", "text", "day of the upload, such as 2022-04-10"),
    Column("upload_type", "text", "how it was uploaded"),
    Column("visible_status", "whole", "visible now: 1 yes, other numbers no"),
    Column("video_duration", "number", "length in milliseconds, as the video's table has it"),
    Column("server_width", "number", "width in pixels"),
    Column("server_height", "number", "height in pixels"),
    Column("music_id", "whole", "the background music", missing=0),
    Column("music_type", "whole", "kind of the background music"),
    Column("tag", "wholes", "categories of the video"),
)
