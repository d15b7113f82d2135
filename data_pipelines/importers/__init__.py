"""Readers of users' data, one file for each format. They yield records, or rejections of bad rows."""
